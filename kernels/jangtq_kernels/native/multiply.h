// Products of a block of packed codes with prepared rows, in float32 or, with JANGTQ_INT8, in int8.
#pragma once

#if defined(JANGTQ_INT8)
#include "int8_products.h"
#else
#include "table_products.h"
#endif

namespace JANGTQ_NAMESPACE {

template <int kBits, int kGroups, int kRows, Prefetch kPrefetch = Prefetch::kIntoCaches>
inline void multiply_span(const uint32_t* codes, int64_t stride, int64_t words, int64_t outputs,
                          const float* const* prepared, float* const* products) {
    if constexpr (kGroups > 1) {
        if (outputs < kGroups * kWidth) {
            multiply_span<kBits, kGroups / 2, kRows, kPrefetch>(codes, stride, words, outputs, prepared, products);
            return;
        }
    }
    for (int64_t first = 0; first < outputs; first += kGroups * kWidth) {
        float* here[kRows];
        for (int r = 0; r < kRows; ++r) here[r] = products[r] + first;
        multiply_groups<kBits, kGroups, kRows, kPrefetch>(codes + first, stride, words, prepared, here);
    }
}

// A single row reads codes once, so that `single` says where to; more rows may come back for them.
template <int kBits>
inline void multiply_rows(const uint32_t* codes, int64_t words, int64_t outputs, int64_t rows, Prefetch single,
                          const float* const* prepared, float* const* products) {
    constexpr Prefetch kPast = kPassesCaches ? Prefetch::kPastCaches : Prefetch::kIntoCaches;
    if (rows == 1 && single == Prefetch::kPastCaches)
        multiply_span<kBits, most_groups(1), 1, kPast>(codes, outputs, words, outputs, prepared, products);
    else if (rows == 1)
        multiply_span<kBits, most_groups(1), 1>(codes, outputs, words, outputs, prepared, products);
    else if (rows == 2)
        multiply_span<kBits, most_groups(2), 2>(codes, outputs, words, outputs, prepared, products);
    else
        multiply_span<kBits, most_groups(4), 4>(codes, outputs, words, outputs, prepared, products);
}

// One block of outputs (16, 32, 64 or 128) of an expert for 1, 2 or 4 rows.
inline void multiply_block(const uint32_t* codes, int64_t words, int64_t outputs, int64_t bits, int64_t rows,
                           Prefetch single, const float* const* prepared, float* const* products) {
    if (bits == 2) multiply_rows<2>(codes, words, outputs, rows, single, prepared, products);
    else if (bits == 3) multiply_rows<3>(codes, words, outputs, rows, single, prepared, products);
    else multiply_rows<4>(codes, words, outputs, rows, single, prepared, products);
}

}  // namespace JANGTQ_NAMESPACE
