// Values of rows as they are written on the wire, and widened as NumPy does it.
#pragma once

#include <cstdint>
#include <cstring>

namespace jangtq {

// As ROW_TYPE_... of expert.proto.
constexpr uint32_t kFloat32 = 1, kFloat16 = 2, kBfloat16 = 3;

// Bytes of one value; 0 where there is no such type.
inline int64_t row_value_bytes(uint32_t row_type) {
    if (row_type == kFloat32) return 4;
    return row_type == kFloat16 || row_type == kBfloat16 ? 2 : 0;
}

// Below 2^-14 there is no leading one: with one, and without it again, the value is normal.
inline float widen_float16(uint16_t half) {
    constexpr uint32_t kBias = (127 - 15) << 23, kLeadingOne = 1u << 23, kNotFinite = 0x7c00u << 13;
    const uint32_t magnitude = (half & 0x7fffu) << 13, sign = (half & 0x8000u) << 16;
    uint32_t bits = magnitude + kBias;
    if (magnitude < kLeadingOne) {
        bits += kLeadingOne;
        float value;
        std::memcpy(&value, &bits, sizeof value);
        value -= 0x1p-14f;
        std::memcpy(&bits, &value, sizeof bits);
    }
    bits |= magnitude < kNotFinite ? sign : sign | 0x7f800000u;
    float widened;
    std::memcpy(&widened, &bits, sizeof widened);
    return widened;
}

inline float widen_bfloat16(uint16_t upper) {
    const uint32_t bits = uint32_t{upper} << 16;
    float widened;
    std::memcpy(&widened, &bits, sizeof widened);
    return widened;
}

// Values of a type of two bytes, from memory of any alignment.
inline void widen_rows(uint32_t row_type, const uint8_t* values, int64_t count, float* rows) {
    for (int64_t i = 0; i < count; ++i) {
        uint16_t bits;
        std::memcpy(&bits, values + 2 * i, sizeof bits);
        rows[i] = row_type == kFloat16 ? widen_float16(bits) : widen_bfloat16(bits);
    }
}

}  // namespace jangtq
