// A table of 16 floats indexed by the low 4 bits of each lane, for each instruction set. Chosen by macro.
#pragma once

#include <cstdint>

#if defined(JANGTQ_AVX512) || defined(JANGTQ_AVX2)
#include <immintrin.h>
#elif defined(JANGTQ_NEON)
#include <arm_neon.h>
#endif

namespace JANGTQ_NAMESPACE {

#if defined(JANGTQ_AVX512)

constexpr int64_t kWidth = 16;
using Floats = __m512;
using Codes = __m512i;
using Table = __m512;

// Holds a value in its register here: left alone, GCC computes many lookups ahead and spills them all.
inline void pin(Floats& v) { asm volatile("" : "+v"(v)); }
inline Floats zero() { return _mm512_setzero_ps(); }
inline Codes load_codes(const uint32_t* p) { return _mm512_loadu_si512(p); }
inline Table load_table(const float* p) { return _mm512_load_ps(p); }
inline void store(float* p, Floats v) { _mm512_storeu_ps(p, v); }
inline Floats add_looked_up(Floats sum, Codes codes, Table table) {
    return _mm512_add_ps(sum, _mm512_permutexvar_ps(codes, table));
}
// Codes with those of step kStep lowest. Shifts share their ports with the lookups, multiplications do not:
// so the nibbles of each 16-bit half come from a multiplication by a power of two, high half kept.
template <int kBits, int kStep>
inline Codes step_index(Codes& codes) {
    if constexpr (kBits == 4) {
        if constexpr (kStep == 4) codes = _mm512_srli_epi32(codes, 16);
        if constexpr (kStep % 4 == 0) return codes;
        return _mm512_mulhi_epu16(codes, _mm512_set1_epi16(static_cast<int16_t>(1 << (16 - 4 * (kStep % 4)))));
    } else {
        if constexpr (kStep > 0) codes = _mm512_srli_epi32(codes, kBits);
        return codes;
    }
}

#elif defined(JANGTQ_AVX2)

constexpr int64_t kWidth = 8;
using Floats = __m256;
using Codes = __m256i;
struct Table { __m256 low, high; };

inline void pin(Floats& v) { asm volatile("" : "+x"(v)); }
inline Floats zero() { return _mm256_setzero_ps(); }
inline Codes load_codes(const uint32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
inline Table load_table(const float* p) { return {_mm256_load_ps(p), _mm256_load_ps(p + 8)}; }
inline void store(float* p, Floats v) { _mm256_storeu_ps(p, v); }
inline Floats add_looked_up(Floats sum, Codes codes, Table table) {
    const __m256 low = _mm256_permutevar8x32_ps(table.low, codes);
    const __m256 high = _mm256_permutevar8x32_ps(table.high, codes);
    // Bit 3 of the index becomes the sign bit, by which blendv chooses.
    const __m256 fourth = _mm256_castsi256_ps(_mm256_slli_epi32(codes, 28));
    return _mm256_add_ps(sum, _mm256_blendv_ps(low, high, fourth));
}
template <int kBits, int kStep>
inline Codes step_index(Codes& codes) {
    if constexpr (kStep > 0) codes = _mm256_srli_epi32(codes, kBits);
    return codes;
}

#elif defined(JANGTQ_NEON)

constexpr int64_t kWidth = 4;
using Floats = float32x4_t;
using Codes = uint32x4_t;
using Table = uint8x16x4_t;

inline void pin(Floats& v) { asm volatile("" : "+w"(v)); }
inline Floats zero() { return vdupq_n_f32(0); }
inline Codes load_codes(const uint32_t* p) { return vld1q_u32(p); }
inline Table load_table(const float* p) {
    const uint8_t* bytes = reinterpret_cast<const uint8_t*>(p);
    return {{vld1q_u8(bytes), vld1q_u8(bytes + 16), vld1q_u8(bytes + 32), vld1q_u8(bytes + 48)}};
}
inline void store(float* p, Floats v) { vst1q_f32(p, v); }
inline Floats add_looked_up(Floats sum, Codes codes, Table table) {
    // The index times four, in each byte of the lane, plus the byte's own place.
    const uint32x4_t index = vandq_u32(codes, vdupq_n_u32(15));
    const uint32x4_t bytes = vmlaq_u32(vdupq_n_u32(0x03020100), index, vdupq_n_u32(0x04040404));
    return vaddq_f32(sum, vreinterpretq_f32_u8(vqtbl4q_u8(table, vreinterpretq_u8_u32(bytes))));
}
template <int kBits, int kStep>
inline Codes step_index(Codes& codes) {
    if constexpr (kStep > 0) codes = vshrq_n_u32(codes, kBits);
    return codes;
}

#else

constexpr int64_t kWidth = 4;
struct Floats { float lane[kWidth]; };
struct Codes { uint32_t lane[kWidth]; };
struct Table { const float* entry; };

inline void pin(Floats&) {}
inline Floats zero() { return {}; }
inline Codes load_codes(const uint32_t* p) { return {{p[0], p[1], p[2], p[3]}}; }
inline Table load_table(const float* p) { return {p}; }
inline void store(float* p, Floats v) {
    for (int64_t i = 0; i < kWidth; ++i) p[i] = v.lane[i];
}
inline Floats add_looked_up(Floats sum, Codes codes, Table table) {
    for (int64_t i = 0; i < kWidth; ++i) sum.lane[i] += table.entry[codes.lane[i] & 15];
    return sum;
}
template <int kBits, int kStep>
inline Codes step_index(Codes& codes) {
    if constexpr (kStep > 0)
        for (int64_t i = 0; i < kWidth; ++i) codes.lane[i] >>= kBits;
    return codes;
}

#endif

}  // namespace JANGTQ_NAMESPACE
