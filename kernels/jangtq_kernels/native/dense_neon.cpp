// Dense matrices and attention for neon.
#define JANGTQ_NEON
#define JANGTQ_NAMESPACE jangtq::neon
#include "attention.inl"
#include "dense.inl"

namespace jangtq::neon {

const DenseKernel dense{prepared_floats, prepare, multiply_part, look_up, attend_chunk, merge, finish};

}
