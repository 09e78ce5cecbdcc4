// The kernel for avx512 with rows and codebook in int8.
#define JANGTQ_AVX512
#define JANGTQ_INT8
#define JANGTQ_NAMESPACE jangtq::avx512_int8
#include "forward.inl"
