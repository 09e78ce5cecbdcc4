// See quantize.h. Every sum has the order of the reference converter on a CPU: one value after the other.
#include "quantize.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <vector>

#if defined(__x86_64__) && defined(__linux__)
// One more copy for wider vectors; which copy runs changes no bit, since nothing is fused or reordered.
#define JANGTQ_WIDE __attribute__((target_clones("avx2", "default")))
#else
#define JANGTQ_WIDE
#endif

namespace {

// Rows side by side hide the latency of sums that must not be reordered.
constexpr int64_t kRowsAtOnce = 8;
constexpr float kLeastNorm = 1e-10f;
constexpr int64_t kLanes = 16;

float from_bits(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

std::array<float, 256> float8_values() {
    std::array<float, 256> values{};
    for (int code = 0; code < 256; ++code) {
        const int exponent = code >> 3 & 15, mantissa = code & 7;
        const float magnitude = exponent ? std::ldexp(1.0f + static_cast<float>(mantissa) / 8, exponent - 7)
                                         : std::ldexp(static_cast<float>(mantissa), -9);
        values[code] = code & 128 ? -magnitude : magnitude;
    }
    // E4M3 of checkpoints has no infinity, and one NaN of either sign.
    values[0x7F] = values[0xFF] = from_bits(0x7FC00000);
    return values;
}

const std::array<float, 256> kFloat8Values = float8_values();

float widen_half(uint16_t half) {
    const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
    const uint32_t rest = static_cast<uint32_t>(half & 0x7FFF) << 13;
    // The multiplication is exact and makes subnormal halves normal; infinities and NaN are set apart.
    const float value = from_bits(rest) * from_bits(0x77800000);
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return from_bits(sign | ((half & 0x7C00) == 0x7C00 ? rest | 0x7F800000 : bits));
}

JANGTQ_WIDE void widen_row(const JangtqQuantization& job, int64_t row, float* out) {
    const int64_t in = job.in_features, start = row * in;
    switch (job.type) {
        case kFloat32:
            std::memcpy(out, static_cast<const float*>(job.weights) + start, in * sizeof(float));
            break;
        case kFloat16: {
            const uint16_t* halves = static_cast<const uint16_t*>(job.weights) + start;
            for (int64_t i = 0; i < in; ++i) out[i] = widen_half(halves[i]);
            break;
        }
        case kBfloat16: {
            const uint16_t* halves = static_cast<const uint16_t*>(job.weights) + start;
            for (int64_t i = 0; i < in; ++i) out[i] = from_bits(static_cast<uint32_t>(halves[i]) << 16);
            break;
        }
        default: {
            const uint8_t* bytes = static_cast<const uint8_t*>(job.weights) + start;
            for (int64_t i = 0; i < in; ++i) out[i] = kFloat8Values[bytes[i]];
        }
    }
    if (job.scales == nullptr) return;
    const float* scales = job.scales + row / job.block * job.scale_columns;
    for (int64_t column = 0, block = 0; column < in; column += job.block, ++block) {
        const int64_t end = std::min(column + job.block, in);
        for (int64_t i = column; i < end; ++i) out[i] *= scales[block];
    }
}

bool is_finite(const float* row, int64_t in) {
    uint32_t largest = 0;
    for (int64_t i = 0; i < in; ++i) {
        uint32_t bits;
        std::memcpy(&bits, row + i, sizeof bits);
        largest = std::max(largest, bits & 0x7FFFFFFF);
    }
    return largest < 0x7F800000;
}

// Orthonormal Walsh-Hadamard transform of a power of two, stage by stage from neighbours outwards.
JANGTQ_WIDE void transform(float* x, int64_t size) {
    for (int64_t step = 1; step < size; step *= 2) {
        for (int64_t start = 0; start < size; start += 2 * step) {
            float* low = x + start;
            float* high = low + step;
            for (int64_t i = 0; i < step; ++i) {
                const float a = low[i], b = high[i];
                low[i] = a + b;
                high[i] = a - b;
            }
        }
    }
    const float scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(size)));
    for (int64_t i = 0; i < size; ++i) x[i] *= scale;
}

// Blocks of the sizes that add up to `in` as powers of two, the largest first.
void rotate(float* row, const float* signs, int64_t in) {
    for (int64_t i = 0; i < in; ++i) row[i] *= signs[i];
    int64_t start = 0;
    for (int bit = 62; bit >= 0; --bit) {
        const int64_t size = int64_t{1} << bit;
        if (!(in & size)) continue;
        transform(row + start, size);
        start += size;
    }
}

JANGTQ_WIDE void measure(const float* rows, int64_t count, int64_t in, float* norms) {
    float sums[kRowsAtOnce] = {};
    for (int64_t i = 0; i < in; ++i) {
        for (int64_t row = 0; row < count; ++row) sums[row] += rows[row * in + i] * rows[row * in + i];
    }
    for (int64_t row = 0; row < count; ++row) norms[row] = std::sqrt(sums[row]);
}

// Leaves the row divided by its norm.
JANGTQ_WIDE void encode(const JangtqQuantization& job, float* row, float norm, std::vector<uint8_t>& scratch,
            uint32_t* words) {
    const int64_t in = job.in_features, middles = (int64_t{1} << job.bits) - 1, per_word = 32 / job.bits;
    const float divisor = std::max(norm, kLeastNorm);
    for (int64_t i = 0; i < in; ++i) row[i] /= divisor;
    int64_t i = 0;
    for (; i + kLanes <= in; i += kLanes) {
        int32_t above[kLanes] = {};
        for (int64_t k = 0; k < middles; ++k) {
            for (int64_t lane = 0; lane < kLanes; ++lane) above[lane] += row[i + lane] > job.midpoints[k];
        }
        for (int64_t lane = 0; lane < kLanes; ++lane) scratch[i + lane] = static_cast<uint8_t>(above[lane]);
    }
    for (; i < in; ++i) {
        scratch[i] = 0;
        for (int64_t k = 0; k < middles; ++k) scratch[i] += row[i] > job.midpoints[k];
    }
    for (int64_t word = 0; word * per_word < in; ++word) {
        uint32_t packed = 0;
        for (int64_t code = 0; code < per_word; ++code) {
            packed |= static_cast<uint32_t>(scratch[word * per_word + code]) << (code * job.bits);
        }
        words[word] = packed;
    }
}

}  // namespace

int32_t jangtq_quantize(const JangtqQuantization* job) {
    const int64_t in = job->in_features, per_word = 32 / job->bits, words = (in + per_word - 1) / per_word;
    std::vector<float> rows(kRowsAtOnce * in);
    // Longer than a row by less than a word, whose last codes are zeros.
    std::vector<uint8_t> scratch(words * per_word);
    for (int64_t first = job->first_row; first < job->end_row; first += kRowsAtOnce) {
        const int64_t count = std::min(kRowsAtOnce, job->end_row - first);
        for (int64_t row = 0; row < count; ++row) {
            float* values = rows.data() + row * in;
            widen_row(*job, first + row, values);
            if (!is_finite(values, in)) return 1;
            rotate(values, job->signs, in);
        }
        measure(rows.data(), count, in, job->norms + first);
        for (int64_t row = 0; row < count; ++row) {
            float* values = rows.data() + row * in;
            encode(*job, values, job->norms[first + row], scratch, job->codes + (first + row) * words);
        }
    }
    return 0;
}
