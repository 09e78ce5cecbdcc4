// Matrix products for neon.
#define JANGTQ_NEON
#define JANGTQ_NAMESPACE jangtq::neon
#include "product.inl"
