// Dense matrices and attention for portable.
#define JANGTQ_PORTABLE
#define JANGTQ_NAMESPACE jangtq::portable
#include "attention.inl"
#include "dense.inl"

namespace jangtq::portable {

const DenseKernel dense{add_up_groups, multiply_part, look_up, attend_chunk, merge, finish};

}
