// Runs random calls on every instruction set of this machine, and prints a line for each that differs in a bit.
// Exit status 0 when neon and portable agree, 2 where there is no neon.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "experts.h"

namespace {

std::mt19937 random_bits(17);

float uniform(float low, float high) {
    return std::uniform_real_distribution<float>(low, high)(random_bits);
}

struct Matrix {
    std::vector<uint32_t> codes;
    std::vector<uint16_t> norms;
    JangtqMatrix given;
};

int64_t padded(int64_t out) { return (out + 15) / 16 * 16; }

Matrix make_matrix(int64_t experts, int64_t out, int64_t in, int64_t bits, const float* codebook, const float* signs) {
    const int64_t words = (in + 32 / bits - 1) / (32 / bits);
    Matrix made;
    made.codes.resize(experts * padded(out) * words);
    std::vector<uint32_t> one(padded(out) * words);
    for (int64_t expert = 0; expert < experts; ++expert) {
        for (auto& word : one) word = random_bits();
        jangtq_lay_out(one.data(), made.codes.data() + expert * padded(out) * words, out, words);
    }
    made.norms.resize(experts * out);
    for (auto& norm : made.norms) norm = 0x3800 + random_bits() % 0x400;  // 0.5 to 1 as float16
    made.given = {made.codes.data(), made.norms.data(), codebook, signs, out, in, bits};
    return made;
}

int compare(int64_t hidden, int64_t between, int64_t bits, int64_t down_bits, int32_t int8) {
    const int64_t experts = 3, slots = 2;
    std::vector<float> codebook(1 << bits), down_codebook(1 << down_bits), signs(hidden), down_signs(between);
    for (auto* values : {&codebook, &down_codebook}) {
        for (size_t i = 0; i < values->size(); ++i) (*values)[i] = (i + 0.5f) / values->size() * 2 - 1;
    }
    for (auto& sign : signs) sign = random_bits() % 2 ? 1.0f : -1.0f;
    for (auto& sign : down_signs) sign = random_bits() % 2 ? 1.0f : -1.0f;
    Matrix gate = make_matrix(experts, between, hidden, bits, codebook.data(), signs.data());
    Matrix up = make_matrix(experts, between, hidden, bits, codebook.data(), signs.data());
    Matrix down = make_matrix(experts, hidden, between, down_bits, down_codebook.data(), down_signs.data());
    const int32_t positions[] = {0, 1, 2};
    const JangtqLayer layer{gate.given, up.given, down.given, experts, positions, experts};
    JangtqPool* pools[] = {jangtq_open_pool(1, "portable", int8, nullptr), jangtq_open_pool(1, "neon", int8, nullptr)};
    if (!pools[0] || !pools[1]) return 2;
    int different = 0;
    for (int64_t rows : {1, 2, 3, 5, 17}) {
        std::vector<float> values(rows * hidden), weights(rows * slots);
        for (auto& value : values) value = uniform(-2, 2);
        for (auto& weight : weights) weight = uniform(0, 1);
        std::vector<int32_t> ids(rows * slots);
        for (int64_t row = 0; row < rows; ++row) {
            ids[row * slots] = random_bits() % experts;
            ids[row * slots + 1] = row % 4 == 3 ? -1 : (ids[row * slots] + 1) % 3;
        }
        std::vector<int8_t> exponents(rows, -18);
        std::vector<int32_t> sums[2];
        std::vector<int8_t> finest[2];
        for (int which = 0; which < 2; ++which) {
            sums[which].resize(rows * hidden);
            finest[which].resize(rows);
            const JangtqCall call{values.data(), ids.data(), weights.data(), exponents.data(), rows, slots,
                                  sums[which].data(), finest[which].data()};
            int64_t offender = 0;
            if (jangtq_forward(pools[which], &layer, &call, &offender) != JANGTQ_OK) ++different;
        }
        if (sums[0] != sums[1] || finest[0] != finest[1]) {
            std::printf("hidden %d between %d bits %d %d int8 %d rows %d\n", int(hidden), int(between), int(bits),
                        int(down_bits), int8, int(rows));
            ++different;
        }
    }
    for (auto* pool : pools) jangtq_close_pool(pool);
    return different ? 1 : 0;
}

}  // namespace

int main() {
    int calls = 0, worst = 0;
    for (int32_t int8 : {0, 1}) {
        for (int64_t bits : {2, 3, 4}) {
            for (int64_t down_bits : {2, 3, 4}) {
                for (auto [hidden, between] : {std::pair<int64_t, int64_t>{64, 32}, {200, 136}, {320, 96}, {33, 17}}) {
                    worst = std::max(worst, compare(hidden, between, bits, down_bits, int8));
                    calls += 5;
                }
            }
        }
    }
    std::printf("%d calls compared\n", calls);
    return worst;
}
