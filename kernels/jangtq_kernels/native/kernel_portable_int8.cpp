// The kernel for portable with rows and codebook in int8.
#define JANGTQ_PORTABLE
#define JANGTQ_INT8
#define JANGTQ_NAMESPACE jangtq::portable_int8
#include "forward.inl"
