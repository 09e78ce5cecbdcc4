// Dense rows to packed codes and norms, with the bits that jangtq_kernels.quantization computes in NumPy.
#pragma once

#include <cstdint>

extern "C" {

// The values are those of WeightType in jangtq_kernels.native_quantization.
enum JangtqWeightType : int64_t { kFloat32 = 0, kFloat16 = 1, kBfloat16 = 2, kFloat8E4M3 = 3 };

// Rows of a matrix [rows, in_features] from first_row to before end_row.
// scales: one float a square of `block` rows and columns, scale_columns in a row of squares; null without.
// midpoints: 2^bits - 1, ascending. codes: ceil(in_features / (32 / bits)) words a row. norms: one a row.
struct JangtqQuantization {
    const void* weights;
    const float* scales;
    const float* signs;
    const float* midpoints;
    uint32_t* codes;
    float* norms;
    int64_t type;
    int64_t block;
    int64_t scale_columns;
    int64_t first_row;
    int64_t end_row;
    int64_t in_features;
    int64_t bits;
};

// 0, or 1 where a weight is not finite: nothing that was written counts then.
__attribute__((visibility("default"))) int32_t jangtq_quantize(const JangtqQuantization* job);
}
