// The C interface of products with a bundle's dense matrices, kept as the bundle stores them, on a pool of pool.h.
#pragma once

#include <cstdint>

#pragma GCC visibility push(default)
extern "C" {

enum JangtqNumber : int64_t { JANGTQ_FLOAT32 = 0, JANGTQ_FLOAT16 = 1, JANGTQ_BFLOAT16 = 2 };

// A matrix [out][in]. bits 8, 6 or 4: MLX's affine codes, in * bits / 32 little-endian words a row, number i being
// scales[i / group] * code + biases[i / group]; group is 32, 64 or 128, in a multiple of it. bits 0: plain numbers.
struct JangtqDense {
    const void* codes;   // codes or numbers
    const void* scales;  // [out][in / group]
    const void* biases;
    int64_t out;
    int64_t in;
    int64_t bits;
    int64_t group;
    int64_t number;  // JangtqNumber of scales and biases, or of plain numbers
};

// Several matrices times the same rows.
struct JangtqDenseCall {
    const float* rows;  // [rows][in]
    int64_t row_count;
    const JangtqDense* matrices;
    float* const* products;  // of each matrix [rows][out]
    int64_t matrix_count;
};

struct JangtqPool;

// A JangtqStatus: OK, MATRICES_UNFIT or OUT_OF_MEMORY. A number depends on its row and on its matrix's alone, to the
// bit: not on other rows or matrices, nor on threads. Calls of one pool take turns.
int32_t jangtq_multiply_dense(JangtqPool* pool, const JangtqDenseCall* call);

// Rows `ids` of a matrix as float32 [count][in]; the ids are below `out`.
int32_t jangtq_look_up_dense(JangtqPool* pool, const JangtqDense* matrix, const int32_t* ids, int64_t count,
                             float* rows);

}
#pragma GCC visibility pop
