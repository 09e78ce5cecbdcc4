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

// Rows lie side by side, value by value: [in_features][kLanes]. Every step then works on whole vectors, sums
// that must not be reordered too, since each row has a lane of its own.
constexpr int64_t kLanes = 8;
// So many values of all rows fill a part of the nearest cache only.
constexpr int64_t kFew = 64;
constexpr float kLeastNorm = 1e-10f;

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

// Sums and differences of the two halves of `step` values each.
JANGTQ_WIDE void combine_halves(float* x, int64_t step) {
    float* high = x + step * kLanes;
    for (int64_t i = 0; i < step * kLanes; ++i) {
        const float a = x[i], b = high[i];
        x[i] = a + b;
        high[i] = a - b;
    }
}

// Stage by stage from neighbours outwards, as the reference does.
JANGTQ_WIDE void transform_few(float* x, int64_t size) {
    for (int64_t step = 1; step < size; step *= 2) {
        for (int64_t start = 0; start < size; start += 2 * step) {
            float* low = x + start * kLanes;
            for (int64_t i = 0; i < step * kLanes; ++i) {
                const float a = low[i], b = low[i + step * kLanes];
                low[i] = a + b;
                low[i + step * kLanes] = a - b;
            }
        }
    }
}

// Walsh-Hadamard transform of a power of two: the halves first, while they are in the nearest cache. Each sum
// has the terms and the order of going stage by stage.
void transform(float* x, int64_t size) {
    if (size <= kFew) return transform_few(x, size);
    transform(x, size / 2);
    transform(x + size / 2 * kLanes, size / 2);
    combine_halves(x, size / 2);
}

JANGTQ_WIDE void scale(float* x, int64_t size) {
    const float factor = static_cast<float>(1.0 / std::sqrt(static_cast<double>(size)));
    for (int64_t i = 0; i < size * kLanes; ++i) x[i] *= factor;
}

// Blocks of the sizes that add up to `in` as powers of two, the largest first.
void rotate(float* rows, int64_t in) {
    int64_t start = 0;
    for (int bit = 62; bit >= 0; --bit) {
        const int64_t size = int64_t{1} << bit;
        if (!(in & size)) continue;
        transform(rows + start * kLanes, size);
        scale(rows + start * kLanes, size);
        start += size;
    }
}

// The rows times their signs, value by value; lanes without a row are zeros.
JANGTQ_WIDE void interleave(const float* values, int64_t count, int64_t in, const float* signs, float* rows) {
    for (int64_t i = 0; i < in; ++i) {
        for (int64_t lane = 0; lane < kLanes; ++lane) {
            rows[i * kLanes + lane] = lane < count ? values[lane * in + i] * signs[i] : 0.0f;
        }
    }
}

// Leaves the rows divided by their norms.
JANGTQ_WIDE void normalize(float* rows, int64_t in, float* norms) {
    float sums[kLanes] = {};
    for (int64_t i = 0; i < in; ++i) {
        for (int64_t lane = 0; lane < kLanes; ++lane) {
            sums[lane] += rows[i * kLanes + lane] * rows[i * kLanes + lane];
        }
    }
    float divisors[kLanes];
    for (int64_t lane = 0; lane < kLanes; ++lane) {
        norms[lane] = std::sqrt(sums[lane]);
        divisors[lane] = std::max(norms[lane], kLeastNorm);
    }
    for (int64_t i = 0; i < in; ++i) {
        for (int64_t lane = 0; lane < kLanes; ++lane) rows[i * kLanes + lane] /= divisors[lane];
    }
}

// One word of each row: the count of midpoints below each of `count` values, the first in the lowest bits.
JANGTQ_WIDE void encode(const float* rows, int64_t count, const float* midpoints, int64_t bits, uint32_t* words) {
    const int64_t middles = (int64_t{1} << bits) - 1;
    for (int64_t lane = 0; lane < kLanes; ++lane) words[lane] = 0;
    for (int64_t code = 0; code < count; ++code) {
        uint32_t below[kLanes] = {};
        for (int64_t k = 0; k < middles; ++k) {
            for (int64_t lane = 0; lane < kLanes; ++lane) below[lane] += rows[code * kLanes + lane] > midpoints[k];
        }
        for (int64_t lane = 0; lane < kLanes; ++lane) words[lane] |= below[lane] << (code * bits);
    }
}

}  // namespace

int32_t jangtq_quantize(const JangtqQuantization* job) {
    const int64_t in = job->in_features, per_word = 32 / job->bits, words = (in + per_word - 1) / per_word;
    std::vector<float> values(kLanes * in), rows(kLanes * in);
    for (int64_t first = job->first_row; first < job->end_row; first += kLanes) {
        const int64_t count = std::min(kLanes, job->end_row - first);
        for (int64_t lane = 0; lane < count; ++lane) {
            widen_row(*job, first + lane, values.data() + lane * in);
            if (!is_finite(values.data() + lane * in, in)) return 1;
        }
        interleave(values.data(), count, in, job->signs, rows.data());
        rotate(rows.data(), in);
        float norms[kLanes];
        normalize(rows.data(), in, norms);
        std::copy_n(norms, count, job->norms + first);
        for (int64_t word = 0; word < words; ++word) {
            uint32_t packed[kLanes];
            const int64_t start = word * per_word;
            encode(rows.data() + start * kLanes, std::min(per_word, in - start), job->midpoints, job->bits, packed);
            for (int64_t lane = 0; lane < count; ++lane) job->codes[(first + lane) * words + word] = packed[lane];
        }
    }
    return 0;
}
