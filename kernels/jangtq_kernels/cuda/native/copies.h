// Copies between the caller's memory and pinned memory, of large blocks by several threads.
#pragma once

#include <cstdint>

namespace jangtq::cuda {

void copy_bytes(char* to, const char* from, int64_t bytes);

// False where one of the values is not finite; all are copied nevertheless.
bool copy_finite(float* to, const float* from, int64_t count);

}  // namespace jangtq::cuda
