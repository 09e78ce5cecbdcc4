// Matrix products for portable.
#define JANGTQ_PORTABLE
#define JANGTQ_NAMESPACE jangtq::portable
#include "product.inl"
