// The kernel for avx2 with rows and codebook in int8.
#define JANGTQ_AVX2
#define JANGTQ_INT8
#define JANGTQ_NAMESPACE jangtq::avx2_int8
#include "forward.inl"
