// Multiplies matrices of many shapes whose buffers end where their last number does, with every instruction set.
#include <cstdint>
#include <cstdio>
#include <initializer_list>
#include <memory>

extern "C" {
const char* jangtq_blas_isas();
void jangtq_blas_choose(int64_t isa);
int32_t jangtq_blas_set_threads(int64_t threads);
void cblas_sgemm(int layout, int a_transposed, int b_transposed, int rows, int columns, int depth, float alpha,
                 const float* a, int a_stride, const float* b, int b_stride, float beta, float* c, int c_stride);
}

namespace {

std::unique_ptr<float[]> ones(int rows, int columns, int stride) {
    const int count = rows > 0 ? (rows - 1) * stride + columns : 0;
    std::unique_ptr<float[]> numbers(new float[static_cast<size_t>(count)]);
    for (int i = 0; i < count; ++i) numbers[static_cast<size_t>(i)] = 1.0f;
    return numbers;
}

// Rows of all matrices are `apart` numbers longer than what is used of them.
int multiply(int rows, int columns, int depth, int orders, int apart) {
    const bool a_turned = orders & 1, b_turned = orders & 2;
    const int a_stride = (a_turned ? rows : depth) + apart, b_stride = (b_turned ? depth : columns) + apart;
    const auto a = a_turned ? ones(depth, rows, a_stride) : ones(rows, depth, a_stride);
    const auto b = b_turned ? ones(columns, depth, b_stride) : ones(depth, columns, b_stride);
    const auto c = ones(rows, columns, columns + apart);
    cblas_sgemm(101, a_turned ? 112 : 111, b_turned ? 112 : 111, rows, columns, depth, 1.0f, a.get(), a_stride,
                b.get(), b_stride, 0.0f, c.get(), columns + apart);
    for (int row = 0; row < rows; ++row)
        for (int column = 0; column < columns + apart && (column < columns || row + 1 < rows); ++column)
            if (c[static_cast<size_t>(row * (columns + apart) + column)] != (column < columns ? depth : 1)) return 1;
    return 0;
}

}  // namespace

int main() {
    int isas = 1, wrong = 0;
    for (const char* name = jangtq_blas_isas(); *name != 0; ++name) isas += *name == ',';
    for (int isa = 0; isa < isas; ++isa) {
        jangtq_blas_choose(isa);
        for (int orders = 0; orders < 4; ++orders)
            for (int apart = 0; apart < 2; ++apart)
                for (int rows : {1, 2, 3, 5, 6, 7, 13})
                    for (int columns : {1, 3, 4, 7, 8, 15, 16, 17, 63, 65, 130})
                        for (int depth : {0, 1, 7, 8, 15, 16, 17, 33, 70})
                            wrong += multiply(rows, columns, depth, orders, apart);
    }
    jangtq_blas_set_threads(3);
    wrong += multiply(65, 515, 510, 2, 0) + multiply(65, 515, 510, 0, 1);
    std::printf("%d instruction sets, %d wrong\n", isas, wrong);
    return wrong != 0;
}
