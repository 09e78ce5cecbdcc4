// A product of two float32 matrices, and what each instruction set provides to compute a part of it.
#pragma once

#include <cstdint>

namespace jangtq {

// c [rows, columns] = scale * a [rows, depth] * b + keep * c; b is [depth, columns], or [columns, depth]
// where `turned`. Strides count floats from one row to the next.
struct Product {
    int64_t rows, columns, depth;
    const float* a;
    const float* b;
    float* c;
    int64_t a_stride, b_stride, c_stride;
    bool turned;
    float scale, keep;
    // Bytes from a number of b to what is wanted soon and comes from memory meanwhile; 0 where nothing is.
    int64_t ahead = 0;
};

// Columns first .. last - 1 of all rows; `first` is a multiple of kColumnStep. A number of c depends on its row
// of a and its column of b alone, to the bit: not on the other rows, nor on how columns are parted.
using Multiply = void (*)(const Product&, int64_t first, int64_t last);

constexpr int64_t kColumnStep = 64;

#define JANGTQ_DECLARE_MULTIPLY(isa) \
    namespace isa { void multiply(const Product&, int64_t first, int64_t last); }

#if defined(__x86_64__)
JANGTQ_DECLARE_MULTIPLY(avx512)
JANGTQ_DECLARE_MULTIPLY(avx2)
#elif defined(__aarch64__)
JANGTQ_DECLARE_MULTIPLY(neon)
#endif
JANGTQ_DECLARE_MULTIPLY(portable)

}  // namespace jangtq
