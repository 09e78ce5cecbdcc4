// The randomized Hadamard rotation of one row, block by block, in float32.
#pragma once

#include <cmath>
#include <cstdint>

namespace JANGTQ_NAMESPACE {

typedef float Sixteen __attribute__((vector_size(64)));
typedef int32_t SixteenIndices __attribute__((vector_size(64)));

template <int kDistance>
inline Sixteen butterfly(Sixteen v) {
    SixteenIndices partner;
    Sixteen sign;
    for (int i = 0; i < 16; ++i) {
        partner[i] = i ^ kDistance;
        sign[i] = i & kDistance ? -1.0f : 1.0f;
    }
#if defined(__clang__)
    Sixteen other;
    for (int i = 0; i < 16; ++i) other[i] = v[i ^ kDistance];
#else
    const Sixteen other = __builtin_shuffle(v, partner);
#endif
    return other + v * sign;
}

inline void transform_short(float* x, int64_t size) {
    for (int64_t distance = 1; distance < size; distance *= 2)
        for (int64_t start = 0; start < size; start += 2 * distance)
            for (int64_t i = start; i < start + distance; ++i) {
                const float a = x[i], b = x[i + distance];
                x[i] = a + b;
                x[i + distance] = a - b;
            }
}

inline void load(Sixteen& v, const float* p) { __builtin_memcpy(&v, p, sizeof v); }
inline void keep(float* p, const Sixteen& v) { __builtin_memcpy(p, &v, sizeof v); }

// Unnormalized Walsh-Hadamard transform in place; size is a power of two.
inline void transform(float* x, int64_t size) {
    if (size < 16) {
        transform_short(x, size);
        return;
    }
    for (int64_t i = 0; i < size; i += 16) {
        Sixteen v;
        load(v, x + i);
        keep(x + i, butterfly<8>(butterfly<4>(butterfly<2>(butterfly<1>(v)))));
    }
    for (int64_t distance = 16; distance < size; distance *= 2)
        for (int64_t start = 0; start < size; start += 2 * distance)
            for (int64_t i = start; i < start + distance; i += 16) {
                Sixteen a, b;
                load(a, x + i);
                load(b, x + i + distance);
                keep(x + i, a + b);
                keep(x + i + distance, a - b);
            }
}

// H(signs * x) in place.
inline void rotate(float* x, const float* signs, int64_t size) {
    int64_t start = 0;
    for (int64_t block = int64_t{1} << 40; block > 0; block /= 2) {
        if (!(size & block)) continue;
        const float scale = 1.0f / std::sqrt(static_cast<float>(block));
        for (int64_t i = start; i < start + block; ++i) x[i] *= signs[i] * scale;
        transform(x + start, block);
        start += block;
    }
}

}  // namespace JANGTQ_NAMESPACE
