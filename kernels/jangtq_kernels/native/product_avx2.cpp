// Matrix products for avx2.
#define JANGTQ_AVX2
#define JANGTQ_NAMESPACE jangtq::avx2
#include "product.inl"
