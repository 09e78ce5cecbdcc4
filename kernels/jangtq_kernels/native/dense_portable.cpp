// Dense matrices and attention for portable.
#define JANGTQ_PORTABLE
#define JANGTQ_NAMESPACE jangtq::portable
#include "attention.inl"
#include "dense.inl"

namespace jangtq::portable {

const DenseKernel dense{prepared_floats, prepare, multiply_part, look_up, attend_chunk, merge, finish};

}
