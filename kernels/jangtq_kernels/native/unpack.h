// Rows of a dense matrix as float32, for the instruction set that a macro chooses.
#pragma once

#include "code_lanes.h"
#include "dense.h"
#include "numbers.h"

namespace JANGTQ_NAMESPACE {

// `count` numbers of a JangtqNumber from place `first` on.
inline void widen_numbers(const void* numbers, int64_t type, int64_t first, int64_t count, float* widened) {
    if (type == JANGTQ_FLOAT32) {
        std::memcpy(widened, static_cast<const float*>(numbers) + first, static_cast<size_t>(count) * sizeof(float));
        return;
    }
    const uint16_t* halves = static_cast<const uint16_t*>(numbers) + first;
#if defined(JANGTQ_AVX512)
    if (type == JANGTQ_FLOAT16) {
        for (int64_t i = 0; i < count; i += kWidth) {
            const __mmask16 mask = first_lanes(count - i < kWidth ? count - i : kWidth);
            _mm512_mask_storeu_ps(widened + i, mask, _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, halves + i)));
        }
        return;
    }
#endif
    if (type == JANGTQ_FLOAT16)
        for (int64_t i = 0; i < count; ++i) widened[i] = widen(halves[i]);
    else
        for (int64_t i = 0; i < count; ++i) widened[i] = widen_bfloat16(halves[i]);
}

inline const uint8_t* row_codes(const JangtqDense& m, int64_t row) {
    return static_cast<const uint8_t*>(m.codes) + row * m.in * m.bits / 8;
}

template <int kBits>
inline void unpack_row(const JangtqDense& m, int64_t row, float* numbers) {
    constexpr int64_t kGroups = 64;  // of which scales are widened at once
    float scales[kGroups], biases[kGroups];
    const int64_t groups = m.in / m.group;
    const uint8_t* codes = row_codes(m, row);
    for (int64_t first = 0; first < groups; first += kGroups) {
        const int64_t count = groups - first < kGroups ? groups - first : kGroups;
        widen_numbers(m.scales, m.number, row * groups + first, count, scales);
        widen_numbers(m.biases, m.number, row * groups + first, count, biases);
        for (int64_t g = 0; g < count; ++g) {
            const Floats scale = broadcast_float(scales[g]), bias = broadcast_float(biases[g]);
            const int64_t start = (first + g) * m.group;
            for (int64_t i = start; i < start + m.group; i += kWidth)
                store(numbers + i, multiply_add(load_affine<kBits>(codes, i), scale, bias));
        }
    }
}

inline void unpack_rows(const JangtqDense& m, int64_t first, int64_t last, float* numbers) {
    for (int64_t row = first; row < last; ++row, numbers += m.in) {
        if (m.bits == 8) unpack_row<8>(m, row, numbers);
        else if (m.bits == 6) unpack_row<6>(m, row, numbers);
        else if (m.bits == 4) unpack_row<4>(m, row, numbers);
        else widen_numbers(m.codes, m.number, row * m.in, m.in, numbers);
    }
}

// Rows `first` to `last` - 1 as they are where they are float32, else unpacked into `scratch`.
inline const float* rows_as_floats(const JangtqDense& m, int64_t first, int64_t last, float* scratch) {
    if (m.bits == 0 && m.number == JANGTQ_FLOAT32) return static_cast<const float*>(m.codes) + first * m.in;
    unpack_rows(m, first, last, scratch);
    return scratch;
}

}  // namespace JANGTQ_NAMESPACE
