// Products with dense matrices for AVX-512 with byte products (VNNI), which read memory at its speed.
//
// A row is kept as fixed-point numbers: of each group, multiples of its largest number / 2^21, as three planes of
// signed bytes, which codes multiply and add up exactly. Relative to a group's largest number that is finer than float32
// sums of such a length are. Lanes add steps of 64 numbers in their order, and are added up in one order at the end.
#pragma once

#include "code_lanes.h"
#include "dense_kernel.h"
#include "product_tiles.h"
#include "unpack.h"

namespace JANGTQ_NAMESPACE {
namespace {

using jangtq::DensePart;
using jangtq::Scratch;

constexpr int kOutputs = 4;    // columns of a tile, which sum_four adds up
constexpr int kDenseRows = 4;  // rows of a tile
constexpr int64_t kStep = 64;  // numbers whose codes are one vector of bytes
constexpr int64_t kRowBlock = 48;      // rows that stay in the second cache while columns pass
// Of the codes of a single row, into the second cache: the first has too few places for what is on its way. Measured.
constexpr int64_t kBytesAhead = 8192;
// 4 * 255 * 2^21, the most that four products of one lane add up to, is less than 2^31.
constexpr float kLargest = 2097152.0f;
constexpr float kLeast = 1e-30f;  // a group of smaller numbers is taken for zeros: their inverse would overflow

inline int64_t steps_of(int64_t in) { return (in + kStep - 1) / kStep; }

// A row as `prepare` leaves it: of each group its sum and the value of a unit, padded with zeros; then three planes.
struct PreparedRow {
    PreparedRow(const float* space, int64_t padded)
        : sums(space), units(space + padded), planes(reinterpret_cast<const int8_t*>(space + 2 * padded)) {}
    const float* sums;
    const float* units;
    const int8_t* planes;  // of each step 64 bytes of the highest plane, of the middle one, and of the lowest
};

int64_t prepared_floats(int64_t in, int64_t group) {
    return 2 * jangtq::padded_groups(in / group) + steps_of(in) * 3 * kStep / 4;
}

inline float largest_of(const float* numbers, int64_t count) {
    // Magnitudes as integers: there NaN is larger than any number.
    __m512i largest = _mm512_setzero_si512();
    for (int64_t i = 0; i < count; i += kWidth)
        largest = _mm512_max_epi32(largest, _mm512_and_si512(_mm512_castps_si512(load(numbers + i)),
                                                             _mm512_set1_epi32(0x7fffffff)));
    const int32_t bits = _mm512_reduce_max_epi32(largest);
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

void prepare(const float* numbers, int64_t in, int64_t group, float* prepared) {
    const int64_t groups = in / group, padded = jangtq::padded_groups(groups);
    float* units = prepared + padded;
    int8_t* planes = reinterpret_cast<int8_t*>(prepared + 2 * padded);
    std::memset(prepared, 0, static_cast<size_t>(prepared_floats(in, group)) * sizeof(float));
    for (int64_t g = 0; g < groups; ++g) {
        const float largest = largest_of(numbers + g * group, group);
        if (largest < kLeast) continue;
        const Floats inverse = broadcast_float(kLargest / largest);
        __m512i sum = _mm512_setzero_si512();
        for (int64_t i = g * group; i < (g + 1) * group; i += kWidth) {
            const __m512i low = _mm512_cvtps_epi32(multiply(load(numbers + i), inverse));
            const __m512i middle = _mm512_srai_epi32(_mm512_add_epi32(low, _mm512_set1_epi32(128)), 8);
            const __m512i high = _mm512_srai_epi32(_mm512_add_epi32(middle, _mm512_set1_epi32(128)), 8);
            sum = _mm512_add_epi32(sum, low);
            __m128i* to = reinterpret_cast<__m128i*>(planes + i / kStep * 3 * kStep + i % kStep);
            _mm_storeu_si128(to, _mm512_cvtepi32_epi8(high));
            _mm_storeu_si128(to + kStep / 16, _mm512_cvtepi32_epi8(middle));
            _mm_storeu_si128(to + 2 * kStep / 16, _mm512_cvtepi32_epi8(low));
        }
        units[g] = largest / kLargest;
        prepared[g] = static_cast<float>(_mm512_reduce_add_epi32(sum)) * units[g];
    }
}

// Scales or biases of 16 groups, of which `count` exist.
inline Floats load_factors(const void* factors, int64_t number, int64_t first, int64_t count) {
    const __mmask16 mask = first_lanes(std::min(count, kWidth));
    if (number == JANGTQ_FLOAT32) return _mm512_maskz_loadu_ps(mask, static_cast<const float*>(factors) + first);
    const __m256i halves = _mm256_maskz_loadu_epi16(mask, static_cast<const uint16_t*>(factors) + first);
    if (number == JANGTQ_FLOAT16) return _mm512_cvtph_ps(halves);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

// 64 codes as bytes; `count` of them exist.
template <int kBits>
inline __m512i load_bytes(const uint8_t* codes, int64_t count) {
    if constexpr (kBits == 8) {
        if (count >= kStep) return _mm512_loadu_si512(codes);
        return _mm512_maskz_loadu_epi8((1ull << count) - 1, codes);
    } else if constexpr (kBits == 4) {
        const __m256i bytes = count >= kStep
            ? _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes))
            : _mm256_maskz_loadu_epi8((1u << count / 2) - 1, codes);
        const __m512i words = _mm512_cvtepu8_epi16(bytes);
        return _mm512_and_si512(_mm512_or_si512(words, _mm512_slli_epi16(words, 4)), _mm512_set1_epi8(15));
    } else {
        // Eight codes are six bytes: they go to a word of eight, from which each is picked by its bit.
        const __m512i bytes = _mm512_maskz_loadu_epi8((1ull << std::min(count, kStep) * 6 / 8) - 1, codes);
        const __m512i words = _mm512_permutexvar_epi8(
            _mm512_set_epi64(0x2f2f2f2e2d2c2b2a, 0x2929292827262524, 0x2323232221201f1e, 0x1d1d1d1c1b1a1918,
                             0x1717171615141312, 0x111111100f0e0d0c, 0x0b0b0b0a09080706, 0x0505050403020100),
            bytes);
        const __m512i picked = _mm512_multishift_epi64_epi8(_mm512_set1_epi64(0x2a241e18120c0600), words);
        return _mm512_and_si512(picked, _mm512_set1_epi8(63));
    }
}

// What each of a step's lanes is multiplied with: the factors of its groups.
template <int kGroup>
inline Floats step_factor(const float* factors, int64_t step) {
    if constexpr (kGroup == 32) {
        const Floats two = _mm512_castpd_ps(_mm512_set1_pd(load_word<double>(
            reinterpret_cast<const uint8_t*>(factors + 2 * step))));
        return _mm512_permutexvar_ps(_mm512_set_epi32(1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0), two);
    } else {
        return broadcast_float(factors[step * kStep / kGroup]);
    }
}

inline Floats add_step(__m512i codes, const __m512i* planes, Floats factor, Floats sum) {
    __m512i total = _mm512_dpbusd_epi32(_mm512_setzero_si512(), codes, planes[0]);
    total = _mm512_dpbusd_epi32(_mm512_slli_epi32(total, 8), codes, planes[1]);
    total = _mm512_dpbusd_epi32(_mm512_slli_epi32(total, 8), codes, planes[2]);
    return multiply_add(_mm512_cvtepi32_ps(total), factor, sum);
}

// Four columns, of which `count` exist, and memory for their factors.
struct Tile {
    const JangtqDense& matrix;
    int64_t column, count, padded;
    float* scales;    // [kOutputs][padded]
    float* biases;    // [kOutputs][padded]
    float* combined;  // [kDenseRows][kOutputs][padded]: scales times the rows' units

    int64_t existing(int64_t j) const { return column + std::min(j, count - 1); }

    void load_all() const {
        const int64_t groups = matrix.in / matrix.group;
        prefetch_next(matrix.scales, groups);
        prefetch_next(matrix.biases, groups);
        for (int64_t j = 0; j < kOutputs; ++j)
            for (int64_t g = 0; g < padded; g += kWidth) {
                const int64_t first = existing(j) * groups + g, some = std::max<int64_t>(groups - g, 0);
                store(scales + j * padded + g, load_factors(matrix.scales, matrix.number, first, some));
                store(biases + j * padded + g, load_factors(matrix.biases, matrix.number, first, some));
            }
    }

    // Of the next tile: else each tile begins with a wait for memory.
    void prefetch_next(const void* factors, int64_t groups) const {
        const int64_t bytes = groups * (matrix.number == JANGTQ_FLOAT32 ? 4 : 2);
        const uint8_t* next = static_cast<const uint8_t*>(factors) + (column + kOutputs) * bytes;
        for (int64_t byte = 0; byte < kOutputs * bytes; byte += 64) __builtin_prefetch(next + byte, 0, 3);
    }
};

template <int kBits, int kGroup, int kRows>
inline void multiply_tile(const DensePart& part, const Tile& tile, int64_t row) {
    const JangtqDense& m = tile.matrix;
    const int64_t padded = tile.padded;
    const int8_t* planes[kRows];
    Floats sums[kRows][kOutputs];
    for (int r = 0; r < kRows; ++r) {
        const PreparedRow prepared(part.prepared + (row + r) * part.prepared_floats, padded);
        planes[r] = prepared.planes;
        for (int j = 0; j < kOutputs; ++j) {
            sums[r][j] = zero();
            float* combined = tile.combined + (r * kOutputs + j) * padded;
            for (int64_t g = 0; g < padded; g += kWidth) {
                sums[r][j] = multiply_add(load(prepared.sums + g), load(tile.biases + j * padded + g), sums[r][j]);
                store(combined + g, multiply(load(prepared.units + g), load(tile.scales + j * padded + g)));
            }
        }
    }
    const uint8_t* codes[kOutputs];
    for (int j = 0; j < kOutputs; ++j) codes[j] = row_codes(m, tile.existing(j));
    const int64_t ahead = kRows == 1 ? kBytesAhead : kOutputs * m.in * kBits / 8;
    const auto add = [&](int j, int64_t step, int64_t count) __attribute__((always_inline)) {
        const uint8_t* at = codes[j] + step * kStep * kBits / 8;
        __builtin_prefetch(at + ahead, 0, 2);
        const __m512i bytes = load_bytes<kBits>(at, count);
        for (int r = 0; r < kRows; ++r) {
            const int8_t* own = planes[r] + step * 3 * kStep;
            const __m512i three[3] = {_mm512_loadu_si512(own), _mm512_loadu_si512(own + kStep),
                                      _mm512_loadu_si512(own + 2 * kStep)};
            const Floats factor = step_factor<kGroup>(tile.combined + (r * kOutputs + j) * padded, step);
            sums[r][j] = add_step(bytes, three, factor, sums[r][j]);
        }
    };
    const int64_t whole = m.in / kStep, rest = m.in % kStep;
    if constexpr (kRows == 1) {
        // Column after column: memory is read fastest in one stream.
        const auto add_column = [&](int j) __attribute__((always_inline)) {
            for (int64_t step = 0; step < whole; ++step) add(j, step, kStep);
            if (rest != 0) add(j, whole, rest);
        };
        add_column(0);
        add_column(1);
        add_column(2);
        add_column(3);
    } else {
        const auto add_all = [&](int64_t step, int64_t count) __attribute__((always_inline)) {
            add(0, step, count);
            add(1, step, count);
            add(2, step, count);
            add(3, step, count);
        };
        for (int64_t step = 0; step < whole; ++step) add_all(step, kStep);
        if (rest != 0) add_all(whole, rest);
    }
    for (int r = 0; r < kRows; ++r) {
        float totals[kOutputs];
        sum_four(sums[r], totals);
        for (int64_t j = 0; j < std::min<int64_t>(kOutputs, tile.count); ++j)
            part.products[(row + r) * m.out + tile.column + j] = totals[j];
    }
}

template <int kBits, int kGroup, int kRows>
void multiply_tiles(const DensePart& part, const Tile& tile, int64_t row, int64_t last) {
    if constexpr (kRows > 1) {
        if (last - row < kRows) {
            multiply_tiles<kBits, kGroup, kRows - 1>(part, tile, row, last);
            return;
        }
    }
    multiply_tile<kBits, kGroup, kRows>(part, tile, row);
}

template <int kBits, int kGroup>
void multiply_codes(const DensePart& part, Scratch& scratch) {
    const JangtqDense& m = part.matrix;
    const int64_t padded = jangtq::padded_groups(m.in / m.group), floats = kOutputs * padded;
    float* space = scratch.floats((2 + kDenseRows) * floats);
    for (int64_t block = 0; block < part.row_count; block += kRowBlock) {
        const int64_t last = std::min(block + kRowBlock, part.row_count);
        for (int64_t column = part.first; column < part.last; column += kOutputs) {
            const Tile tile{m, column, std::min<int64_t>(kOutputs, part.last - column), padded, space, space + floats,
                            space + 2 * floats};
            tile.load_all();
            for (int64_t row = block; row < last; row += kDenseRows)
                multiply_tiles<kBits, kGroup, kDenseRows>(part, tile, row, last);
        }
    }
}

}  // namespace
}  // namespace JANGTQ_NAMESPACE
