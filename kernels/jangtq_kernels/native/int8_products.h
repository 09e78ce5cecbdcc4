// Products of packed codes with rows in int8: codes decode to a byte each, rows are rounded to 127 steps.
//
// A prepared row holds the codebook in int8, then for every group of words the float32 value of one unit, where
// its integer sums begin, and the inputs, four in an int32 as the codes come out of a word.
#pragma once

#include <cmath>
#include <cstring>
#include <utility>

#include "lanes_int8.h"
#include "layout.h"
#include "prefetch.h"

namespace JANGTQ_NAMESPACE {

using jangtq::Prefetch;

constexpr int64_t kGroupWords = 8;
constexpr int64_t kLevels = 127;
constexpr int64_t kWordsAhead = 8;
constexpr int64_t kWordsFarAhead = 32;

// Codes come into the caches, whatever Prefetch says.
constexpr bool kPassesCaches = false;

// Times four codes are taken from one word, and how many codes a word holds.
constexpr int steps(int bits) { return bits == 2 ? 4 : bits == 3 ? 3 : 2; }
constexpr int word_codes(int bits) { return 32 / bits; }

constexpr int64_t kCodebookFloats = 4;
constexpr int64_t group_floats(int bits) { return 2 + kGroupWords * steps(bits); }

inline int64_t prepared_floats(int64_t in, int64_t bits) {
    const int64_t groups = (jangtq::words_of(in, bits) + kGroupWords - 1) / kGroupWords;
    return (kCodebookFloats + groups * group_floats(static_cast<int>(bits)) + 15) / 16 * 16;
}

// The code of a word that step `step` brings into byte `byte`; for 3 bits it may lie beyond the last.
constexpr int code_of(int bits, int step, int byte) {
    return bits == 2 ? 4 * byte + step : bits == 3 ? 4 * step + byte : 2 * byte + step;
}

inline float largest(const float* x, int64_t count) {
    float most = 0.0f;
    for (int64_t i = 0; i < count; ++i) {
        const float magnitude = std::fabs(x[i]);
        most = magnitude > most ? magnitude : most;
    }
    return most;
}

// Nearest integer; 1.5 * 2^23 leaves no fraction bits. NaN becomes -kLevels, never an undefined conversion.
inline int8_t quantize(float steps_of) {
    const float limited = steps_of > -kLevels ? (steps_of < kLevels ? steps_of : kLevels) : -kLevels;
    return static_cast<int8_t>((limited + 12582912.0f) - 12582912.0f);
}

// Steps a unit of values up to `most`; none where all are nearly zero.
inline float levels_per_unit(float most) { return most > 1e-30f ? kLevels / most : 0.0f; }

inline float prepare_codebook(const float* codebook, int64_t bits, float* prepared) {
    const int64_t size = int64_t{1} << bits;
    const float most = largest(codebook, size), levels = levels_per_unit(most);
    uint8_t bytes[16];
    for (int64_t c = 0; c < 16; ++c)
        bytes[c] = static_cast<uint8_t>(quantize(codebook[c & (size - 1)] * levels) + kOffset);
    std::memcpy(prepared, bytes, sizeof bytes);
    return most / kLevels;
}

template <int kBits>
inline void prepare_group(const float* x, int64_t words, float codebook_unit, float* group) {
    constexpr int kCodes = word_codes(kBits), kSteps = steps(kBits);
    const float most = largest(x, words * kCodes), levels = levels_per_unit(most);
    int8_t rounded[kGroupWords * kCodes];
    int32_t sum = 0;
    for (int64_t i = 0; i < words * kCodes; ++i) rounded[i] = quantize(x[i] * levels);
    for (int64_t i = 0; i < words * kCodes; ++i) sum += rounded[i];
    for (int64_t word = 0; word < words; ++word) {
        int8_t inputs[4 * kSteps];
        for (int i = 0; i < 4 * kSteps; ++i) {
            const int code = code_of(kBits, i / 4, i % 4);
            inputs[i] = code < kCodes ? rounded[word * kCodes + code] : int8_t{0};
        }
        std::memcpy(group + 2 + word * kSteps, inputs, sizeof inputs);
    }
    const float unit = most / kLevels * codebook_unit;
    const int32_t begin = -kOffset * sum;
    std::memcpy(group, &unit, sizeof unit);
    std::memcpy(group + 1, &begin, sizeof begin);
}

template <int kBits>
inline void prepare_groups(const float* x, int64_t words, float codebook_unit, float* group) {
    for (int64_t first = 0; first < words; first += kGroupWords) {
        const int64_t count = words - first < kGroupWords ? words - first : kGroupWords;
        prepare_group<kBits>(x + first * word_codes(kBits), count, codebook_unit, group);
        group += group_floats(kBits);
    }
}

// x has zeros up to a whole word.
inline void prepare_row(const float* x, int64_t in, int64_t bits, const float* codebook, float* prepared) {
    const int64_t words = jangtq::words_of(in, bits);
    const float codebook_unit = prepare_codebook(codebook, bits, prepared);
    float* groups = prepared + kCodebookFloats;
    if (bits == 2) prepare_groups<2>(x, words, codebook_unit, groups);
    else if (bits == 3) prepare_groups<3>(x, words, codebook_unit, groups);
    else prepare_groups<4>(x, words, codebook_unit, groups);
}

// Four codes in the low bits of four bytes; what stands above them is for `decode` to ignore.
template <int kBits, int kStep>
inline Codes spread(Codes word) {
    if constexpr (kBits == 3) {
        const Codes v = kStep == 0 ? word : shift_right(word, 12 * kStep);
        const Codes low = choose(0x0000ff00, shift_left(v, 5), v);
        const Codes high = choose(0xff000000, shift_left(v, 15), shift_left(v, 10));
        return choose(0xffff0000, high, low);
    } else {
        return kStep == 0 ? word : shift_right(word, kBits * kStep);
    }
}

inline int32_t four_inputs(const float* p) {
    int32_t inputs;
    std::memcpy(&inputs, p, sizeof inputs);
    return inputs;
}

template <int kBits, int kGroups, int kRows, int kStep>
inline void add_step(const Codes (&codes)[kGroups], Ints (&sums)[kRows][kGroups], Decoder decoder,
                     const float* const (&inputs)[kRows], int64_t word) {
    Bytes decoded[kGroups];
#pragma GCC unroll 8
    for (int g = 0; g < kGroups; ++g) decoded[g] = decode(spread<kBits, kStep>(codes[g]), decoder);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
        const int32_t four = four_inputs(inputs[r] + 2 + word * steps(kBits) + kStep);
#pragma GCC unroll 8
        for (int g = 0; g < kGroups; ++g) sums[r][g] = add_dot(sums[r][g], decoded[g], four);
    }
}

template <int kBits, int kGroups, int kRows, int... kSteps>
inline void add_word(std::integer_sequence<int, kSteps...>, const Codes (&codes)[kGroups],
                     Ints (&sums)[kRows][kGroups], Decoder decoder, const float* const (&inputs)[kRows],
                     int64_t word) {
    (add_step<kBits, kGroups, kRows, kSteps>(codes, sums, decoder, inputs, word), ...);
}

// The words of one group, whose integer sums are exact, added to the totals.
template <int kBits, int kGroups, int kRows>
inline void add_group(const uint32_t* codes, int64_t stride, int64_t words, Decoder decoder,
                      const float* const (&inputs)[kRows], Floats (&totals)[kRows][kGroups]) {
    Ints sums[kRows][kGroups];
    for (int r = 0; r < kRows; ++r)
        for (int g = 0; g < kGroups; ++g) sums[r][g] = broadcast(four_inputs(inputs[r] + 1));
    for (int64_t word = 0; word < words; ++word) {
        Codes here[kGroups];
#pragma GCC unroll 8
        for (int g = 0; g < kGroups; ++g) {
            here[g] = load_codes(codes + word * stride + g * kWidth);
            __builtin_prefetch(codes + (word + kWordsFarAhead) * stride + g * kWidth, 0, 2);
            __builtin_prefetch(codes + (word + kWordsAhead) * stride + g * kWidth);
        }
        add_word<kBits, kGroups, kRows>(std::make_integer_sequence<int, steps(kBits)>{}, here, sums, decoder,
                                        inputs, word);
    }
    for (int r = 0; r < kRows; ++r)
        for (int g = 0; g < kGroups; ++g) totals[r][g] = add_scaled(totals[r][g], sums[r][g], *inputs[r]);
}

// kGroups * kWidth outputs of kRows rows. codes: the first word of these outputs; stride: outputs a word.
template <int kBits, int kGroups, int kRows, Prefetch>
inline void multiply_groups(const uint32_t* codes, int64_t stride, int64_t words, const float* const* prepared,
                            float* const* products) {
    Floats totals[kRows][kGroups];
    const float* inputs[kRows];
    for (int r = 0; r < kRows; ++r) {
        inputs[r] = prepared[r] + kCodebookFloats;
        for (int g = 0; g < kGroups; ++g) totals[r][g] = zero();
    }
    const Decoder decoder = load_decoder(reinterpret_cast<const uint8_t*>(prepared[0]));
    for (int64_t first = 0; first < words; first += kGroupWords) {
        const int64_t count = words - first < kGroupWords ? words - first : kGroupWords;
        add_group<kBits, kGroups, kRows>(codes + first * stride, stride, count, decoder, inputs, totals);
        for (int r = 0; r < kRows; ++r) inputs[r] += group_floats(kBits);
    }
    for (int r = 0; r < kRows; ++r)
        for (int g = 0; g < kGroups; ++g) store(products[r] + g * kWidth, totals[r][g]);
}

// As many groups as the registers hold.
constexpr int most_groups(int rows) {
#if defined(JANGTQ_AVX512)
    return rows == 1 ? 8 : 4;
#elif defined(JANGTQ_NEON)
    return rows == 4 ? 2 : 4;
#else
    return rows == 1 ? 4 : 2;
#endif
}

}  // namespace JANGTQ_NAMESPACE
