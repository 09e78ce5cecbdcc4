// kWidth neighbouring affine codes as floats, for each instruction set. Chosen by macro. Reads no byte beyond them.
#pragma once

#include <cstring>

#include "product_lanes.h"

namespace JANGTQ_NAMESPACE {

template <typename Word>
inline Word load_word(const uint8_t* p) {
    Word word;
    std::memcpy(&word, p, sizeof word);
    return word;
}

// at: the place of the first code, a multiple of kWidth.
template <int kBits>
inline Floats load_affine(const uint8_t* codes, int64_t at) {
    static_assert(kBits == 8 || kBits == 6 || kBits == 4);
    const uint8_t* p = codes + at * kBits / 8;
#if defined(JANGTQ_AVX512)
    __m512i numbers;
    if constexpr (kBits == 8) {
        numbers = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    } else if constexpr (kBits == 4) {
        const __m512i low = _mm512_set1_epi32(load_word<int32_t>(p));
        const __m512i words = _mm512_mask_set1_epi32(low, 0xff00, load_word<int32_t>(p + 4));
        const __m512i shifts = _mm512_set_epi32(28, 24, 20, 16, 12, 8, 4, 0, 28, 24, 20, 16, 12, 8, 4, 0);
        numbers = _mm512_and_si512(_mm512_srlv_epi32(words, shifts), _mm512_set1_epi32(15));
    } else {
        // Every four codes are three bytes: they go to four lanes, two bytes of which hold the code.
        const __m128i bytes = _mm_maskz_loadu_epi8(0x0fff, p);
        const __m512i spread = _mm512_set_epi32(
            0x80800b0a, 0x80800b0a, 0x80800a09, 0x80800a09, 0x80800807, 0x80800807, 0x80800706, 0x80800706,
            0x80800504, 0x80800504, 0x80800403, 0x80800403, 0x80800201, 0x80800201, 0x80800100, 0x80800100);
        const __m512i shifts = _mm512_set_epi32(10, 4, 6, 0, 10, 4, 6, 0, 10, 4, 6, 0, 10, 4, 6, 0);
        const __m512i words = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(bytes), spread);
        numbers = _mm512_and_si512(_mm512_srlv_epi32(words, shifts), _mm512_set1_epi32(63));
    }
    return _mm512_cvtepi32_ps(numbers);
#elif defined(JANGTQ_AVX2)
    __m256i numbers;
    if constexpr (kBits == 8) {
        numbers = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
    } else if constexpr (kBits == 4) {
        const __m256i words = _mm256_set1_epi32(load_word<int32_t>(p));
        const __m256i shifts = _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28);
        numbers = _mm256_and_si256(_mm256_srlv_epi32(words, shifts), _mm256_set1_epi32(15));
    } else {
        const int64_t six = load_word<uint32_t>(p) | static_cast<int64_t>(load_word<uint16_t>(p + 4)) << 32;
        const __m256i spread = _mm256_set_epi32(
            static_cast<int>(0x80800504), static_cast<int>(0x80800504), static_cast<int>(0x80800403),
            static_cast<int>(0x80800403), static_cast<int>(0x80800201), static_cast<int>(0x80800201),
            static_cast<int>(0x80800100), static_cast<int>(0x80800100));
        const __m256i words = _mm256_shuffle_epi8(_mm256_set1_epi64x(six), spread);
        const __m256i shifts = _mm256_setr_epi32(0, 6, 4, 10, 0, 6, 4, 10);
        numbers = _mm256_and_si256(_mm256_srlv_epi32(words, shifts), _mm256_set1_epi32(63));
    }
    return _mm256_cvtepi32_ps(numbers);
#else
    // Four codes are 4, 3 or 2 bytes.
    uint32_t word = load_word<uint16_t>(p);
    if constexpr (kBits == 6) word |= static_cast<uint32_t>(p[2]) << 16;
    if constexpr (kBits == 8) word = load_word<uint32_t>(p);
    constexpr uint32_t kMask = (1u << kBits) - 1;
#if defined(JANGTQ_NEON)
    const int32_t right[4] = {0, -kBits, -2 * kBits, -3 * kBits};
    return vcvtq_f32_u32(vandq_u32(vshlq_u32(vdupq_n_u32(word), vld1q_s32(right)), vdupq_n_u32(kMask)));
#else
    Floats numbers;
    for (int i = 0; i < kWidth; ++i) numbers.lane[i] = static_cast<float>(word >> (i * kBits) & kMask);
    return numbers;
#endif
#endif
}

}  // namespace JANGTQ_NAMESPACE
