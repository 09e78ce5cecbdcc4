// Runs dense products, look-ups and attention on buffers of exactly the sizes that dense.h and attention.h ask for, to
// be compiled with sanitizers. Prints the number of calls; a sanitizer or a wrong status ends it with an error.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "attention.h"
#include "experts.h"

namespace {

int calls = 0;

void expect(int32_t status, int32_t expected) {
    ++calls;
    if (status == expected) return;
    std::fprintf(stderr, "status %d, expected %d\n", status, expected);
    std::exit(1);
}

// On the heap, so that no byte beyond can be read unseen.
struct Matrix {
    Matrix(int64_t out, int64_t in, int64_t bits, int64_t group, int64_t number)
        : codes(static_cast<size_t>(bits == 0 ? out * in * (number == JANGTQ_FLOAT32 ? 4 : 2) : out * in * bits / 8), 0x3c),
          factors(static_cast<size_t>(bits == 0 ? 0 : out * (in / group) * (number == JANGTQ_FLOAT32 ? 4 : 2)), 0x3c),
          view{codes.data(), factors.data(), factors.data(), out, in, bits, group, number} {}
    std::vector<uint8_t> codes, factors;
    JangtqDense view;
};

void multiply(JangtqPool* pool, int64_t bits, int64_t group, int64_t number, int64_t out, int64_t in, int64_t rows) {
    Matrix first(out, in, bits, group, number), second(3, in, bits, group, number);
    const JangtqDense matrices[] = {first.view, second.view};
    std::vector<float> x(static_cast<size_t>(rows * in), 0.5f), y(static_cast<size_t>(rows * out)),
        z(static_cast<size_t>(rows * 3));
    float* products[] = {y.data(), z.data()};
    const JangtqDenseCall call{x.data(), rows, matrices, products, 2};
    expect(jangtq_multiply_dense(pool, &call), JANGTQ_OK);
    const int32_t ids[] = {static_cast<int32_t>(out - 1)};
    std::vector<float> row(static_cast<size_t>(in));
    expect(jangtq_look_up_dense(pool, &first.view, ids, 1, row.data()), JANGTQ_OK);
    const int32_t beyond[] = {static_cast<int32_t>(out)};
    expect(jangtq_look_up_dense(pool, &first.view, beyond, 1, row.data()), JANGTQ_MATRICES_UNFIT);
}

void attend(JangtqPool* pool, int64_t bits, int64_t columns, int64_t tokens, int64_t heads) {
    constexpr int64_t kRows = 2, kKvHeads = 2, kSize = 32;
    Matrix keys(kRows * kKvHeads * columns, kSize, bits, 32, JANGTQ_FLOAT32);
    Matrix values(kRows * kKvHeads * columns, kSize, bits, 32, JANGTQ_FLOAT32);
    std::vector<float> queries(static_cast<size_t>(kRows * heads * tokens * kSize), 0.1f);
    std::vector<float> answers(queries.size());
    const std::vector<int64_t> lengths{columns, tokens};
    JangtqAttention call{queries.data(), keys.view, values.view, lengths.data(), kRows,   heads,
                         kKvHeads,       tokens,    columns,     0.2f,           answers.data()};
    expect(jangtq_attend(pool, &call), JANGTQ_OK);
    call.heads += 1;
    expect(jangtq_attend(pool, &call), JANGTQ_MATRICES_UNFIT);
}

}  // namespace

int main() {
    const std::string isas = jangtq_isas();
    for (size_t start = 0; start < isas.size();) {
        const size_t end = isas.find(',', start) == std::string::npos ? isas.size() : isas.find(',', start);
        const std::string isa = isas.substr(start, end - start);
        JangtqPool* pool = jangtq_open_pool(2, isa.c_str(), 0, nullptr);
        for (const int64_t number : {JANGTQ_FLOAT32, JANGTQ_FLOAT16, JANGTQ_BFLOAT16}) {
            for (const int64_t bits : {8, 6, 4})
                for (const int64_t group : {32, 64, 128})
                    for (const int64_t rows : {1, 3, 6}) multiply(pool, bits, group, number, 5, 384, rows);
            for (const int64_t rows : {1, 7}) multiply(pool, 0, 0, number, 5, 37, rows);
        }
        multiply(pool, 8, 64, JANGTQ_FLOAT16, 1030, 128, 2);
        multiply(pool, 6, 32, JANGTQ_FLOAT16, 2, 32, 5);
        for (const int64_t bits : {0, 8, 4})
            for (const int64_t columns : {17, 256, 700})
                for (const int64_t tokens : {1, 9}) attend(pool, bits, columns, tokens, 6);
        jangtq_close_pool(pool);
        start = end + 1;
    }
    std::printf("%d\n", calls);
    return 0;
}
