// Weighted answers as integers on a row's grid, as grid.py defines it: rounded once, then added exactly.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace jangtq {

constexpr int32_t kFinest = -126, kCoarsest = 97;
constexpr int32_t kAnswerBits = 26;

// The smallest exponent on whose grid an answer of this magnitude, a float32's bits without sign, fits.
inline int32_t finest_exponent(uint32_t magnitude) {
    const int32_t exponent = static_cast<int32_t>(magnitude >> 23) - (127 + kAnswerBits - 1);
    return exponent > kFinest ? exponent : kFinest;
}

// 2^-exponent, for exponents from kFinest to kCoarsest.
inline float grid_scale(int8_t exponent) {
    const int32_t bits = (127 - exponent) << 23;
    float scale;
    std::memcpy(&scale, &bits, sizeof scale);
    return scale;
}

// Many threads may raise one magnitude.
inline void raise_magnitude(uint32_t& magnitude, uint32_t found) {
    uint32_t known = __atomic_load_n(&magnitude, __ATOMIC_RELAXED);
    while (known < found &&
           !__atomic_compare_exchange_n(&magnitude, &known, found, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
}

}  // namespace jangtq
