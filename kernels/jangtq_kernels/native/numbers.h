// The exponential and the widening of float16, in operations that compilers turn into vectors.
#pragma once

#include <cstdint>
#include <cstring>

namespace JANGTQ_NAMESPACE {

// e^x by range reduction to +-ln(2)/2 and a polynomial; the constants are those of Cephes' expf.
inline float exponential(float x) {
    // Asked this way round, NaN becomes -87 and never reaches the conversion to an integer.
    x = x > -87.0f ? (x < 88.0f ? x : 88.0f) : -87.0f;
    const float shifted = x * 1.44269504088896341f + 12582912.0f;
    const float n = shifted - 12582912.0f;
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    const int32_t scale = (static_cast<int32_t>(n) + 127) << 23;
    float power;
    std::memcpy(&power, &scale, sizeof power);
    return p * power;
}

// A finite float16: its exponent moved to float32's place, then scaled by the difference of the biases.
inline float widen(uint16_t half) {
    const uint32_t magnitude = (half & 0x7fffu) << 13;
    float value;
    std::memcpy(&value, &magnitude, sizeof value);
    value *= 0x1p112f;
    return half & 0x8000u ? -value : value;
}

inline float widen_bfloat16(uint16_t upper_half) {
    const uint32_t bits = static_cast<uint32_t>(upper_half) << 16;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

}  // namespace JANGTQ_NAMESPACE
