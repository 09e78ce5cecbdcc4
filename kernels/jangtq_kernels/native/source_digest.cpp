// In every library: which sources it was compiled from, as jangtq_kernels.source_digest tells them apart.

extern "C" __attribute__((visibility("default"))) const char* jangtq_source_digest() { return JANGTQ_SOURCE_DIGEST; }
