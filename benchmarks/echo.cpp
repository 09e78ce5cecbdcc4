// A forward as jangtq_forward of kernels/jangtq_kernels/native/experts.h: gives the bits of the rows back.
#include <cstring>

#include "experts.h"

// `layer` points to the hidden size.
extern "C" int32_t echo_forward(void*, const void* layer, const JangtqCall* call, int64_t*) {
    const int64_t values = call->row_count * *static_cast<const int64_t*>(layer);
    std::memcpy(call->sums, call->rows, static_cast<size_t>(values) * sizeof(int32_t));
    std::memcpy(call->finest, call->exponents, static_cast<size_t>(call->row_count));
    return JANGTQ_OK;
}
