// Dense matrices and attention for avx2.
#define JANGTQ_AVX2
#define JANGTQ_NAMESPACE jangtq::avx2
#include "attention.inl"
#include "dense.inl"

namespace jangtq::avx2 {

const DenseKernel dense{prepared_floats, prepare, multiply_part, look_up, attend_chunk, merge, finish};

}
