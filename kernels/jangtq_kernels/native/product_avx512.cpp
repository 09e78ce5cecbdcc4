// Matrix products for avx512.
#define JANGTQ_AVX512
#define JANGTQ_NAMESPACE jangtq::avx512
#include "product.inl"
