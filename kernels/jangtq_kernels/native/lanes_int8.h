// Bytes in each lane: four codes of a word decoded to int8, and their dot product with four inputs of a row.
#pragma once

#include "lanes.h"

namespace JANGTQ_NAMESPACE {

#if defined(JANGTQ_AVX512)

using Bytes = __m512i;
using Ints = __m512i;
using Decoder = __m512i;

// The dot product takes its first operand unsigned: decoded codes carry this, sums begin without it.
constexpr int32_t kOffset = 128;

inline Codes shift_right(Codes v, int bits) { return _mm512_srli_epi32(v, bits); }
inline Codes shift_left(Codes v, int bits) { return _mm512_slli_epi32(v, bits); }
inline Codes choose(uint32_t mask, Codes set, Codes clear) {
    return _mm512_ternarylogic_epi32(_mm512_set1_epi32(static_cast<int32_t>(mask)), set, clear, 0xca);
}
inline Decoder load_decoder(const uint8_t* p) {
    return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline Bytes decode(Codes v, Decoder decoder) { return _mm512_permutexvar_epi8(v, decoder); }
inline Ints broadcast(int32_t v) { return _mm512_set1_epi32(v); }
inline Ints add_dot(Ints sum, Bytes codes, int32_t inputs) {
    return _mm512_dpbusd_epi32(sum, codes, _mm512_set1_epi32(inputs));
}
inline Floats add_scaled(Floats total, Ints sum, float scale) {
    return _mm512_add_ps(total, _mm512_mul_ps(_mm512_cvtepi32_ps(sum), _mm512_set1_ps(scale)));
}

#elif defined(JANGTQ_AVX2)

using Bytes = __m256i;
using Ints = __m256i;
using Decoder = __m256i;

constexpr int32_t kOffset = 0;

inline Codes shift_right(Codes v, int bits) { return _mm256_srli_epi32(v, bits); }
inline Codes shift_left(Codes v, int bits) { return _mm256_slli_epi32(v, bits); }
inline Codes choose(uint32_t mask, Codes set, Codes clear) {
    return _mm256_blendv_epi8(clear, set, _mm256_set1_epi32(static_cast<int32_t>(mask)));
}
inline Decoder load_decoder(const uint8_t* p) {
    return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline Bytes decode(Codes v, Decoder decoder) {
    return _mm256_shuffle_epi8(decoder, _mm256_and_si256(v, _mm256_set1_epi8(15)));
}
inline Ints broadcast(int32_t v) { return _mm256_set1_epi32(v); }
// Unsigned times signed: inputs give up their signs to the codes. Two products of at most 127 * 127 fit int16.
inline Ints add_dot(Ints sum, Bytes codes, int32_t inputs) {
    const __m256i x = _mm256_set1_epi32(inputs);
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(x), _mm256_sign_epi8(codes, x));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
inline Floats add_scaled(Floats total, Ints sum, float scale) {
    return _mm256_add_ps(total, _mm256_mul_ps(_mm256_cvtepi32_ps(sum), _mm256_set1_ps(scale)));
}

#elif defined(JANGTQ_NEON)

using Bytes = int8x16_t;
using Ints = int32x4_t;
using Decoder = int8x16_t;

constexpr int32_t kOffset = 0;

inline Codes shift_right(Codes v, int bits) { return vshlq_u32(v, vdupq_n_s32(-bits)); }
inline Codes shift_left(Codes v, int bits) { return vshlq_u32(v, vdupq_n_s32(bits)); }
inline Codes choose(uint32_t mask, Codes set, Codes clear) { return vbslq_u32(vdupq_n_u32(mask), set, clear); }
inline Decoder load_decoder(const uint8_t* p) { return vreinterpretq_s8_u8(vld1q_u8(p)); }
inline Bytes decode(Codes v, Decoder decoder) {
    return vqtbl1q_s8(decoder, vandq_u8(vreinterpretq_u8_u32(v), vdupq_n_u8(15)));
}
inline Ints broadcast(int32_t v) { return vdupq_n_s32(v); }
inline Ints add_dot(Ints sum, Bytes codes, int32_t inputs) {
    const int8x16_t x = vreinterpretq_s8_s32(vdupq_n_s32(inputs));
#if defined(__ARM_FEATURE_DOTPROD)
    return vdotq_s32(sum, codes, x);
#else
    const int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(codes), vget_low_s8(x)));
    const int32x4_t high = vpaddlq_s16(vmull_s8(vget_high_s8(codes), vget_high_s8(x)));
    return vaddq_s32(sum, vpaddq_s32(low, high));
#endif
}
inline Floats add_scaled(Floats total, Ints sum, float scale) {
    return vaddq_f32(total, vmulq_n_f32(vcvtq_f32_s32(sum), scale));
}

#else

struct Bytes { int8_t lane[kWidth][4]; };
struct Ints { int32_t lane[kWidth]; };
struct Decoder { const uint8_t* entry; };

constexpr int32_t kOffset = 0;

inline Codes shift_right(Codes v, int bits) {
    for (auto& lane : v.lane) lane >>= bits;
    return v;
}
inline Codes shift_left(Codes v, int bits) {
    for (auto& lane : v.lane) lane <<= bits;
    return v;
}
inline Codes choose(uint32_t mask, Codes set, Codes clear) {
    for (int64_t i = 0; i < kWidth; ++i) clear.lane[i] = (set.lane[i] & mask) | (clear.lane[i] & ~mask);
    return clear;
}
inline Decoder load_decoder(const uint8_t* p) { return {p}; }
inline Bytes decode(Codes v, Decoder decoder) {
    Bytes bytes;
    for (int64_t i = 0; i < kWidth; ++i)
        for (int j = 0; j < 4; ++j) bytes.lane[i][j] = static_cast<int8_t>(decoder.entry[v.lane[i] >> 8 * j & 15]);
    return bytes;
}
inline Ints broadcast(int32_t v) { return {{v, v, v, v}}; }
inline Ints add_dot(Ints sum, Bytes codes, int32_t inputs) {
    int8_t x[4];
    __builtin_memcpy(x, &inputs, sizeof x);
    for (int64_t i = 0; i < kWidth; ++i)
        for (int j = 0; j < 4; ++j) sum.lane[i] += codes.lane[i][j] * x[j];
    return sum;
}
inline Floats add_scaled(Floats total, Ints sum, float scale) {
    for (int64_t i = 0; i < kWidth; ++i) total.lane[i] += static_cast<float>(sum.lane[i]) * scale;
    return total;
}

#endif

}  // namespace JANGTQ_NAMESPACE
