// Products of packed codes with rows, by tables: 4 bits of a code word pick one of 16 sums prepared from the row.
//
// Two 2-bit codes make 16 combinations, so a table holds x0 * codebook[c0] + x1 * codebook[c1] for all of
// them, and one lookup and one addition serve two weights of each lane; 3- and 4-bit codes take one each.
#pragma once

#include <utility>

#include "lanes.h"
#include "layout.h"
#include "prefetch.h"

namespace JANGTQ_NAMESPACE {

using jangtq::codes_per_word;
using jangtq::Prefetch;

constexpr int64_t kEntries = 16;

// The processor's own prefetching stops at every page: codes come to the second cache early, to the first
// just in time, since the tables that stream through it would drive them out again.
constexpr int64_t kWordsAhead = 4;
constexpr int64_t kWordsFarAhead = 16;

// Codes come as Prefetch says; the values are those of __builtin_prefetch.
constexpr bool kPassesCaches = true;
constexpr int near_locality(Prefetch prefetch) { return prefetch == Prefetch::kPastCaches ? 0 : 3; }
constexpr int far_locality(Prefetch prefetch) { return prefetch == Prefetch::kPastCaches ? 0 : 2; }

// Lookups that one word takes, and the bits that each consumes.
constexpr int lookups(int bits) { return bits == 2 ? 8 : 32 / bits; }
constexpr int lookup_bits(int bits) { return bits == 2 ? 4 : bits; }

inline int64_t prepared_floats(int64_t in, int64_t bits) {
    return jangtq::words_of(in, bits) * lookups(static_cast<int>(bits)) * kEntries;
}

// Tables of one rotated row; x has zeros up to a whole word.
inline void prepare_row(const float* x, int64_t in, int64_t bits, const float* codebook, float* tables) {
    const int64_t count = jangtq::words_of(in, bits) * lookups(static_cast<int>(bits));
    float first[kEntries], second[kEntries];
    const int64_t mask = (1 << bits) - 1;
    for (int64_t c = 0; c < kEntries; ++c) {
        first[c] = codebook[c & mask];
        second[c] = bits == 2 ? codebook[c >> 2] : 0.0f;
    }
    if (bits == 2) {
        for (int64_t t = 0; t < count; ++t)
            for (int64_t c = 0; c < kEntries; ++c)
                tables[t * kEntries + c] = x[2 * t] * first[c] + x[2 * t + 1] * second[c];
    } else {
        for (int64_t t = 0; t < count; ++t)
            for (int64_t c = 0; c < kEntries; ++c) tables[t * kEntries + c] = x[t] * first[c];
    }
}

// One lookup for every output and row. Inlined wherever it is called: out of line, sums would live in memory.
template <int kBits, int kGroups, int kRows, int kStep>
[[gnu::always_inline]]
inline void look_up(Codes (&codes)[kGroups], Floats (&sums)[kRows][kGroups], const float* const* tables,
                    int64_t at) {
    Codes index[kGroups];
#pragma GCC unroll 8
    for (int g = 0; g < kGroups; ++g) index[g] = step_index<lookup_bits(kBits), kStep>(codes[g]);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
        const Table table = load_table(tables[r] + at + kStep * kEntries);
#pragma GCC unroll 8
        for (int g = 0; g < kGroups; ++g) {
            sums[r][g] = add_looked_up(sums[r][g], index[g], table);
            pin(sums[r][g]);
        }
    }
}

template <int kBits, int kGroups, int kRows, int... kSteps>
[[gnu::always_inline]]
inline void look_up_word(std::integer_sequence<int, kSteps...>, Codes (&codes)[kGroups],
                         Floats (&sums)[kRows][kGroups], const float* const* tables, int64_t at) {
    (look_up<kBits, kGroups, kRows, kSteps>(codes, sums, tables, at), ...);
}

// kGroups * kWidth outputs of kRows rows. codes: the first word of these outputs; stride: outputs a word.
template <int kBits, int kGroups, int kRows, Prefetch kPrefetch>
inline void multiply_groups(const uint32_t* codes, int64_t stride, int64_t words,
                            const float* const* tables, float* const* products) {
    constexpr int kNear = near_locality(kPrefetch), kFar = far_locality(kPrefetch);
    Floats sums[kRows][kGroups];
    for (int r = 0; r < kRows; ++r)
        for (int g = 0; g < kGroups; ++g) sums[r][g] = zero();
    for (int64_t word = 0; word < words; ++word) {
        Codes here[kGroups];
#pragma GCC unroll 8
        for (int g = 0; g < kGroups; ++g) {
            here[g] = load_codes(codes + word * stride + g * kWidth);
            const uint32_t* const later = codes + word * stride + g * kWidth;
            __builtin_prefetch(later + kWordsAhead * stride, 0, kNear);
            __builtin_prefetch(later + kWordsFarAhead * stride, 0, kFar);
        }
        look_up_word<kBits, kGroups, kRows>(std::make_integer_sequence<int, lookups(kBits)>{}, here, sums,
                                            tables, word * lookups(kBits) * kEntries);
    }
    for (int r = 0; r < kRows; ++r)
        for (int g = 0; g < kGroups; ++g) store(products[r] + g * kWidth, sums[r][g]);
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
