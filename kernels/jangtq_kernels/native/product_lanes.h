// Loads, multiply-adds and sums of float vectors, for each instruction set. Chosen by macro.
#pragma once

#include "lanes.h"

namespace JANGTQ_NAMESPACE {

// Most accumulators of a tile are registers: kTileRows * 4 of them, and kTileRows * 4 / 8 rows by 8.
#if defined(JANGTQ_AVX512)

constexpr int kTileRows = 6;

inline __mmask16 first_lanes(int64_t count) { return static_cast<__mmask16>((1u << count) - 1); }
inline Floats load(const float* p) { return _mm512_loadu_ps(p); }
inline Floats load_some(const float* p, int64_t count) { return _mm512_maskz_loadu_ps(first_lanes(count), p); }
inline void store_some(float* p, Floats v, int64_t count) { _mm512_mask_storeu_ps(p, first_lanes(count), v); }
inline Floats broadcast_float(float v) { return _mm512_set1_ps(v); }
inline Floats multiply_add(Floats a, Floats b, Floats sum) { return _mm512_fmadd_ps(a, b, sum); }
inline Floats multiply(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
inline void sum_four(const Floats* v, float* sums) {
    const Floats ab = _mm512_add_ps(_mm512_unpacklo_ps(v[0], v[1]), _mm512_unpackhi_ps(v[0], v[1]));
    const Floats cd = _mm512_add_ps(_mm512_unpacklo_ps(v[2], v[3]), _mm512_unpackhi_ps(v[2], v[3]));
    const __m512d low = _mm512_unpacklo_pd(_mm512_castps_pd(ab), _mm512_castps_pd(cd));
    const __m512d high = _mm512_unpackhi_pd(_mm512_castps_pd(ab), _mm512_castps_pd(cd));
    const Floats all = _mm512_add_ps(_mm512_castpd_ps(low), _mm512_castpd_ps(high));
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
    _mm_storeu_ps(sums, _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1)));
}

#elif defined(JANGTQ_AVX2)

constexpr int kTileRows = 3;

inline __m256i first_lanes(int64_t count) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int32_t>(count)), lane);
}
inline Floats load(const float* p) { return _mm256_loadu_ps(p); }
inline Floats load_some(const float* p, int64_t count) { return _mm256_maskload_ps(p, first_lanes(count)); }
inline void store_some(float* p, Floats v, int64_t count) { _mm256_maskstore_ps(p, first_lanes(count), v); }
inline Floats broadcast_float(float v) { return _mm256_set1_ps(v); }
inline Floats multiply_add(Floats a, Floats b, Floats sum) { return _mm256_fmadd_ps(a, b, sum); }
inline Floats multiply(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
inline void sum_four(const Floats* v, float* sums) {
    const Floats all = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
    _mm_storeu_ps(sums, _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1)));
}

#else

#if defined(JANGTQ_NEON)

constexpr int kTileRows = 6;

inline Floats load(const float* p) { return vld1q_f32(p); }
inline Floats broadcast_float(float v) { return vdupq_n_f32(v); }
inline Floats multiply_add(Floats a, Floats b, Floats sum) { return vfmaq_f32(sum, a, b); }
inline Floats multiply(Floats a, Floats b) { return vmulq_f32(a, b); }
inline void sum_four(const Floats* v, float* sums) {
    vst1q_f32(sums, vpaddq_f32(vpaddq_f32(v[0], v[1]), vpaddq_f32(v[2], v[3])));
}

#else

constexpr int kTileRows = 2;

inline Floats load(const float* p) { return {{p[0], p[1], p[2], p[3]}}; }
inline Floats broadcast_float(float v) { return {{v, v, v, v}}; }
// Fused where machines have that, so that other instruction sets' bits can be compared with these.
inline Floats multiply_add(Floats a, Floats b, Floats sum) {
#if defined(__FP_FAST_FMAF)
    for (int64_t i = 0; i < kWidth; ++i) sum.lane[i] = __builtin_fmaf(a.lane[i], b.lane[i], sum.lane[i]);
#else
    for (int64_t i = 0; i < kWidth; ++i) sum.lane[i] += a.lane[i] * b.lane[i];
#endif
    return sum;
}
inline Floats multiply(Floats a, Floats b) { return multiply_add(a, b, zero()); }
inline void sum_four(const Floats* v, float* sums) {
    for (int i = 0; i < 4; ++i)
        sums[i] = (v[i].lane[0] + v[i].lane[1]) + (v[i].lane[2] + v[i].lane[3]);
}

#endif

inline Floats load_some(const float* p, int64_t count) {
    float lanes[kWidth] = {};
    for (int64_t i = 0; i < count; ++i) lanes[i] = p[i];
    return load(lanes);
}
inline void store_some(float* p, Floats v, int64_t count) {
    float lanes[kWidth];
    store(lanes, v);
    for (int64_t i = 0; i < count; ++i) p[i] = lanes[i];
}

#endif

}  // namespace JANGTQ_NAMESPACE
