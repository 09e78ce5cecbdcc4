// The kernel for neon with rows and codebook in int8.
#define JANGTQ_NEON
#define JANGTQ_INT8
#define JANGTQ_NAMESPACE jangtq::neon_int8
#include "forward.inl"
