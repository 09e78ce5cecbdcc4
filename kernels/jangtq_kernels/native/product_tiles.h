// Tiles of a matrix product, and products made of them, for the instruction set that a macro chooses.
#pragma once

#include <algorithm>

#include "product.h"
#include "product_lanes.h"

namespace JANGTQ_NAMESPACE {

using jangtq::kColumnStep;
using jangtq::Product;

// Of a turned b: as many columns at once as stay in the second cache beside rows of a.
constexpr int64_t kBlockFloats = 64 * 1024;

// Into the second cache: the first has too few places for what is on its way.
template <bool kFetches>
inline void fetch_ahead(const Product& p, const float* b) {
    if constexpr (kFetches) __builtin_prefetch(reinterpret_cast<const char*>(b) + p.ahead, 0, 2);
}

inline void keep_number(const Product& p, float* c, float sum) {
    *c = p.keep == 0.0f ? p.scale * sum : p.scale * sum + p.keep * *c;
}

// Dot products of kRows rows with kColumns rows of a turned b, `count` of which exist: lanes take every
// kWidth-th number in order, and are added in one order at the end.
template <int kRows, int kColumns, bool kFetches>
inline void multiply_turned_tile(const Product& p, int64_t row, int64_t column, int64_t count) {
    const float* a = p.a + row * p.a_stride;
    const float* b[kColumns];
    for (int j = 0; j < kColumns; ++j) b[j] = p.b + (column + std::min<int64_t>(j, count - 1)) * p.b_stride;
    Floats sums[kRows][kColumns];
    for (auto& of_row : sums)
        for (auto& sum : of_row) sum = zero();
    const int64_t whole = p.depth / kWidth * kWidth;
    for (int64_t k = 0; k < whole; k += kWidth) {
        Floats left[kRows];
        for (int i = 0; i < kRows; ++i) left[i] = load(a + i * p.a_stride + k);
        for (int j = 0; j < kColumns; ++j) {
            const Floats right = load(b[j] + k);
            fetch_ahead<kFetches>(p, b[j] + k);
            for (int i = 0; i < kRows; ++i) sums[i][j] = multiply_add(left[i], right, sums[i][j]);
        }
    }
    if (whole < p.depth)
        for (int j = 0; j < kColumns; ++j) {
            const Floats right = load_some(b[j] + whole, p.depth - whole);
            for (int i = 0; i < kRows; ++i) {
                const Floats left = load_some(a + i * p.a_stride + whole, p.depth - whole);
                sums[i][j] = multiply_add(left, right, sums[i][j]);
            }
        }
    for (int i = 0; i < kRows; ++i) {
        float totals[kColumns];
        for (int j = 0; j < kColumns; j += 4) sum_four(&sums[i][j], totals + j);
        float* c = p.c + (row + i) * p.c_stride + column;
        if (count >= kColumns && p.keep == 0.0f)
            for (int j = 0; j < kColumns; ++j) c[j] = p.scale * totals[j];
        else
            for (int64_t j = 0; j < std::min<int64_t>(kColumns, count); ++j) keep_number(p, c + j, totals[j]);
    }
}

// kRows rows by kVectors vectors of columns, the last of them with `count` lanes; depth is added in order.
template <int kRows, int kVectors, bool kFetches>
inline void multiply_straight_tile(const Product& p, int64_t row, int64_t column, int64_t count) {
    const float* a = p.a + row * p.a_stride;
    Floats sums[kRows][kVectors];
    for (auto& of_row : sums)
        for (auto& sum : of_row) sum = zero();
    for (int64_t k = 0; k < p.depth; ++k) {
        const float* b = p.b + k * p.b_stride + column;
        Floats right[kVectors];
        for (int j = 0; j < kVectors; ++j) fetch_ahead<kFetches>(p, b + j * kWidth);
        for (int j = 0; j < kVectors; ++j)
            right[j] = j + 1 < kVectors || count == kWidth ? load(b + j * kWidth) : load_some(b + j * kWidth, count);
        for (int i = 0; i < kRows; ++i) {
            const Floats left = broadcast_float(a[i * p.a_stride + k]);
            for (int j = 0; j < kVectors; ++j) sums[i][j] = multiply_add(left, right[j], sums[i][j]);
        }
    }
    for (int i = 0; i < kRows; ++i)
        for (int j = 0; j < kVectors; ++j) {
            float totals[kWidth];
            store(totals, sums[i][j]);
            float* c = p.c + (row + i) * p.c_stride + column + j * kWidth;
            const int64_t lanes = j + 1 < kVectors ? kWidth : count;
            for (int64_t lane = 0; lane < lanes; ++lane) keep_number(p, c + lane, totals[lane]);
        }
}

template <int kRows, bool kFetches>
inline void multiply_turned_rows(const Product& p, int64_t row, int64_t first, int64_t last) {
    constexpr int kColumns = 2 * kRows <= kTileRows ? 8 : 4;
    for (int64_t column = first; column < last; column += kColumns)
        multiply_turned_tile<kRows, kColumns, kFetches>(p, row, column, last - column);
}

template <int kRows, bool kFetches>
inline void multiply_straight_rows(const Product& p, int64_t row, int64_t first, int64_t last) {
    int64_t column = first;
    for (; column + 4 * kWidth <= last; column += 4 * kWidth)
        multiply_straight_tile<kRows, 4, kFetches>(p, row, column, kWidth);
    for (; column + 2 * kWidth <= last; column += 2 * kWidth)
        multiply_straight_tile<kRows, 2, kFetches>(p, row, column, kWidth);
    for (; column < last; column += kWidth)
        multiply_straight_tile<kRows, 1, kFetches>(p, row, column, std::min(kWidth, last - column));
}

template <int kRows, bool kFetches>
inline void multiply_rows(const Product& p, int64_t row, int64_t first, int64_t last) {
    if constexpr (kRows > 1) {
        if (p.rows - row < kRows) {
            multiply_rows<kRows - 1, kFetches>(p, row, first, last);
            return;
        }
    }
    if (p.turned) multiply_turned_rows<kRows, kFetches>(p, row, first, last);
    else multiply_straight_rows<kRows, kFetches>(p, row, first, last);
}

// As Multiply.
inline void multiply_columns(const Product& p, int64_t first, int64_t last) {
    const int64_t fitting = kBlockFloats / std::max<int64_t>(p.depth, 1) / 8 * 8;
    const int64_t block = std::clamp<int64_t>(fitting, 8, kColumnStep * 64);
    for (int64_t column = first; column < last; column += block)
        for (int64_t row = 0; row < p.rows; row += kTileRows)
            if (p.ahead == 0) multiply_rows<kTileRows, false>(p, row, column, std::min(column + block, last));
            else multiply_rows<kTileRows, true>(p, row, column, std::min(column + block, last));
}

}  // namespace JANGTQ_NAMESPACE
