// Dense matrices and attention for avx512.
#define JANGTQ_AVX512
#define JANGTQ_NAMESPACE jangtq::avx512
#include "attention.inl"
#include "dense.inl"

namespace jangtq::avx512 {

const DenseKernel dense{prepared_floats, prepare, multiply_part, look_up, attend_chunk, merge, finish};

}
