// The kernel for portable.
#define JANGTQ_PORTABLE
#define JANGTQ_NAMESPACE jangtq::portable
#include "forward.inl"
