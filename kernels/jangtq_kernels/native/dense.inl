// Products with dense matrices for one instruction set. Included once for each, with JANGTQ_NAMESPACE set.
#if defined(JANGTQ_AVX512)
#include "dense_fixed.h"
#else
#include "dense_float.h"
#endif

namespace JANGTQ_NAMESPACE {
namespace {

void multiply_numbers(const DensePart& part, Scratch& scratch) {
    const JangtqDense& m = part.matrix;
    const int64_t count = part.last - part.first;
    const float* columns = rows_as_floats(m, part.first, part.last, scratch.floats(count * m.in));
    multiply_columns({part.row_count, count, m.in, part.rows, columns, part.products + part.first, m.in, m.in, m.out,
                      true, 1.0f, 0.0f},
                     0, count);
}

template <int kBits>
void multiply_groups(const DensePart& part, Scratch& scratch) {
    if (part.matrix.group == 32) multiply_codes<kBits, 32>(part, scratch);
    else if (part.matrix.group == 64) multiply_codes<kBits, 64>(part, scratch);
    else multiply_codes<kBits, 128>(part, scratch);
}

void multiply_part(const DensePart& part, Scratch& scratch) {
    if (part.matrix.bits == 8) multiply_groups<8>(part, scratch);
    else if (part.matrix.bits == 6) multiply_groups<6>(part, scratch);
    else if (part.matrix.bits == 4) multiply_groups<4>(part, scratch);
    else multiply_numbers(part, scratch);
}

void look_up(const JangtqDense& matrix, int64_t row, float* numbers) {
    unpack_rows(matrix, row, row + 1, numbers);
}

}  // namespace
}  // namespace JANGTQ_NAMESPACE
