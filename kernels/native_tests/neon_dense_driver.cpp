// Multiplies, looks up and attends on NEON and on portable code, and prints a line for each call that differs in a bit.
// Exit status 0 when both agree, 2 where there is no neon.
#include <cstdio>
#include <random>
#include <vector>

#include "attention.h"
#include "experts.h"

namespace {

std::mt19937 random_bits(17);
int calls = 0, different = 0;

std::vector<float> uniform(int64_t count) {
    std::vector<float> numbers(static_cast<size_t>(count));
    for (float& number : numbers) number = std::uniform_real_distribution<float>(-2, 2)(random_bits);
    return numbers;
}

void compare(const std::vector<float> (&found)[2], const char* what, int64_t bits, int64_t group, int64_t rows) {
    ++calls;
    if (found[0] == found[1]) return;
    std::printf("%s of %d bits, groups of %d, rows %d\n", what, int(bits), int(group), int(rows));
    ++different;
}

// Codes, and scales and biases of either float type.
struct Matrix {
    Matrix(int64_t out, int64_t in, int64_t bits, int64_t group, int64_t number) : numbers(uniform(out * in)) {
        const int64_t factors = bits == 0 ? 0 : out * in / group;
        for (int64_t i = 0; i < out * in * bits / 32; ++i) codes.push_back(random_bits());
        for (int64_t i = 0; i < factors; ++i) halves.push_back(static_cast<uint16_t>(0x3000 + random_bits() % 0x800));
        const void* scales = number == JANGTQ_FLOAT32 ? static_cast<const void*>(numbers.data()) : halves.data();
        view = {bits == 0 ? static_cast<const void*>(numbers.data()) : codes.data(), scales, scales, out, in, bits,
                group, number};
    }
    std::vector<float> numbers;
    std::vector<uint32_t> codes;
    std::vector<uint16_t> halves;
    JangtqDense view;
};

void multiply(JangtqPool* const (&pools)[2], int64_t bits, int64_t group, int64_t number) {
    constexpr int64_t kOut = 13, kIn = 384;
    const Matrix matrix(kOut, kIn, bits, group, number);
    for (const int64_t rows : {1, 3, 6}) {
        const std::vector<float> given = uniform(rows * kIn);
        std::vector<float> products[2], looked_up[2];
        for (int which = 0; which < 2; ++which) {
            products[which].resize(static_cast<size_t>(rows * kOut));
            looked_up[which].resize(kIn);
            float* const to[] = {products[which].data()};
            const int32_t id = 7;
            const JangtqDenseCall call{given.data(), rows, &matrix.view, to, 1};
            if (jangtq_multiply_dense(pools[which], &call) != JANGTQ_OK) ++different;
            if (jangtq_look_up_dense(pools[which], &matrix.view, &id, 1, looked_up[which].data()) != JANGTQ_OK)
                ++different;
        }
        compare(products, "products", bits, group, rows);
        compare(looked_up, "rows looked up", bits, group, rows);
    }
}

void attend(JangtqPool* const (&pools)[2], int64_t bits, int64_t tokens) {
    constexpr int64_t kRows = 2, kHeads = 14, kKvHeads = 2, kSize = 32, kColumns = 512;
    const Matrix keys(kRows * kKvHeads * kColumns, kSize, bits, 32, JANGTQ_FLOAT32);
    const Matrix values(kRows * kKvHeads * kColumns, kSize, bits, 32, JANGTQ_FLOAT32);
    const std::vector<float> queries = uniform(kRows * kHeads * tokens * kSize);
    const int64_t lengths[] = {450, 17};
    std::vector<float> answers[2];
    for (int which = 0; which < 2; ++which) {
        answers[which].resize(queries.size());
        const JangtqAttention call{queries.data(), keys.view, values.view, lengths,  kRows, kHeads,
                                   kKvHeads,       tokens,    kColumns,    0.2f,     answers[which].data()};
        if (jangtq_attend(pools[which], &call) != JANGTQ_OK) ++different;
    }
    compare(answers, "attention", bits, 32, tokens);
}

}  // namespace

int main() {
    JangtqPool* const pools[] = {jangtq_open_pool(1, "portable", 0, nullptr), jangtq_open_pool(1, "neon", 0, nullptr)};
    if (!pools[0] || !pools[1]) return 2;
    for (const int64_t bits : {8, 6, 4})
        for (const int64_t group : {32, 64, 128})
            for (const int64_t number : {JANGTQ_FLOAT32, JANGTQ_FLOAT16, JANGTQ_BFLOAT16})
                multiply(pools, bits, group, number);
    multiply(pools, 0, 0, JANGTQ_FLOAT32);
    for (const int64_t bits : {0, 8, 4})
        for (const int64_t tokens : {1, 9}) attend(pools, bits, tokens);
    for (JangtqPool* pool : pools) jangtq_close_pool(pool);
    std::printf("%d calls compared\n", calls);
    return different ? 1 : 0;
}
