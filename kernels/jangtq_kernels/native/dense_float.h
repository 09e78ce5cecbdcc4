// Products of float32 rows with codes, for the instruction set that a macro chooses.
//
// Of a group, codes are multiplied as they are, and the scale is applied to their sum; biases meet the sum of the
// row's group. All is float32; lanes add groups in their order, and are added up in one order at the end.
#pragma once

#include "code_lanes.h"
#include "dense_kernel.h"
#include "product_tiles.h"
#include "unpack.h"

namespace JANGTQ_NAMESPACE {
namespace {

using jangtq::DensePart;
using jangtq::Scratch;

constexpr int kOutputs = 4;  // columns of a tile, which sum_four adds up
constexpr int64_t kBytesAhead = 1024;  // of a single stream; measured

#if defined(JANGTQ_NEON)
constexpr int kDenseRows = 4;
#elif defined(JANGTQ_AVX2)
constexpr int kDenseRows = 2;
#else
constexpr int kDenseRows = 1;
#endif

int64_t prepared_floats(int64_t in, int64_t group) { return jangtq::padded_groups(in / group); }

// What each group of a row adds up to; zeros behind them.
void prepare(const float* numbers, int64_t in, int64_t group, float* sums) {
    const int64_t groups = in / group;
    for (int64_t g = jangtq::padded_groups(groups) - 1; g >= groups; --g) sums[g] = 0.0f;
    for (int64_t g = 0; g < groups; ++g) {
        constexpr int64_t kLanes = 16;
        float lanes[kLanes] = {};
        for (int64_t i = g * group; i < (g + 1) * group; i += kLanes)
            for (int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] += numbers[i + lane];
        sums[g] = 0.0f;
        for (const float lane : lanes) sums[g] += lane;
    }
}

// Scales and biases of four columns, [kOutputs][groups, padded] each.
struct TileFactors {
    float* scales;
    float* biases;
};

inline void load_factors(const JangtqDense& m, int64_t column, int64_t count, int64_t padded, const TileFactors& f) {
    const int64_t groups = m.in / m.group;
    for (int64_t j = 0; j < kOutputs; ++j) {
        const int64_t first = (column + std::min(j, count - 1)) * groups;
        widen_numbers(m.scales, m.number, first, groups, f.scales + j * padded);
        widen_numbers(m.biases, m.number, first, groups, f.biases + j * padded);
        for (int64_t g = groups; g < padded; ++g) f.scales[j * padded + g] = f.biases[j * padded + g] = 0.0f;
    }
}

// kRows rows by four columns, of which `count` exist.
template <int kBits, int kGroup, int kRows>
inline void multiply_tile(const DensePart& part, int64_t row, int64_t column, int64_t count, int64_t padded,
                          const TileFactors& f) {
    const JangtqDense& m = part.matrix;
    const uint8_t* codes[kOutputs];
    for (int64_t j = 0; j < kOutputs; ++j) codes[j] = row_codes(m, column + std::min(j, count - 1));
    const float* rows = part.rows + row * m.in;
    const int64_t ahead = kRows == 1 ? kBytesAhead : kOutputs * m.in * kBits / 8;
    Floats sums[kRows][kOutputs];
    for (int r = 0; r < kRows; ++r)
        for (int j = 0; j < kOutputs; ++j) {
            sums[r][j] = zero();
            for (int64_t g = 0; g < padded; g += kWidth)
                sums[r][j] = multiply_add(load(part.prepared + (row + r) * padded + g),
                                          load(f.biases + j * padded + g), sums[r][j]);
        }
    const auto add_group = [&](int j, int64_t g) __attribute__((always_inline)) {
        const uint8_t* group_codes = codes[j] + g * kGroup * kBits / 8;
        // The processor's own prefetching stops at every page.
        for (int byte = 0; byte < kGroup * kBits / 8; byte += 64)
            __builtin_prefetch(group_codes + ahead + byte, 0, 3);
        Floats totals[kRows];
#pragma GCC unroll 32
        for (int i = 0; i < kGroup; i += kWidth) {
            const Floats decoded = load_affine<kBits>(group_codes, i);
            for (int r = 0; r < kRows; ++r) {
                const Floats numbers = load(rows + r * m.in + g * kGroup + i);
                totals[r] = i == 0 ? multiply(numbers, decoded) : multiply_add(numbers, decoded, totals[r]);
            }
        }
        const Floats scale = broadcast_float(f.scales[j * padded + g]);
        for (int r = 0; r < kRows; ++r) sums[r][j] = multiply_add(totals[r], scale, sums[r][j]);
    };
    const int64_t groups = m.in / kGroup;
    if constexpr (kRows == 1) {
        // Column after column: memory is read fastest in one stream.
        for (int64_t g = 0; g < groups; ++g) add_group(0, g);
        for (int64_t g = 0; g < groups; ++g) add_group(1, g);
        for (int64_t g = 0; g < groups; ++g) add_group(2, g);
        for (int64_t g = 0; g < groups; ++g) add_group(3, g);
    } else {
        for (int64_t g = 0; g < groups; ++g) {
            add_group(0, g);
            add_group(1, g);
            add_group(2, g);
            add_group(3, g);
        }
    }
    for (int r = 0; r < kRows; ++r) {
        float totals[kOutputs];
        sum_four(sums[r], totals);
        for (int64_t j = 0; j < std::min<int64_t>(kOutputs, count); ++j)
            part.products[(row + r) * m.out + column + j] = totals[j];
    }
}

template <int kBits, int kGroup, int kRows>
void multiply_tiles(const DensePart& part, int64_t row, int64_t column, int64_t count, int64_t padded,
                    const TileFactors& factors) {
    if constexpr (kRows > 1) {
        if (part.row_count - row < kRows) {
            multiply_tiles<kBits, kGroup, kRows - 1>(part, row, column, count, padded, factors);
            return;
        }
    }
    multiply_tile<kBits, kGroup, kRows>(part, row, column, count, padded, factors);
}

template <int kBits, int kGroup>
void multiply_codes(const DensePart& part, Scratch& scratch) {
    const JangtqDense& m = part.matrix;
    const int64_t padded = jangtq::padded_groups(m.in / m.group);
    float* space = scratch.floats(2 * kOutputs * padded);
    const TileFactors factors{space, space + kOutputs * padded};
    for (int64_t column = part.first; column < part.last; column += kOutputs) {
        const int64_t count = std::min<int64_t>(kOutputs, part.last - column);
        load_factors(m, column, count, padded, factors);
        for (int64_t row = 0; row < part.row_count; row += kDenseRows)
            multiply_tiles<kBits, kGroup, kDenseRows>(part, row, column, count, padded, factors);
    }
}

}  // namespace
}  // namespace JANGTQ_NAMESPACE
