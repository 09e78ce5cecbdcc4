// The functions of NVIDIA's driver that are used here, found when the library is opened: no CUDA is needed to build.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace jangtq::cuda {

using Result = int;
using DevicePointer = uint64_t;
using Handle = void*;

// What the driver refused; the message names the function and carries the driver's words.
class DriverError : public std::runtime_error {
   public:
    using std::runtime_error::runtime_error;
};

// Names and arguments are the driver's own, see https://docs.nvidia.com/cuda/cuda-driver-api.
struct Driver {
    // Throws DriverError where the library or one of its functions is missing.
    explicit Driver(const char* library);

    Result (*init)(unsigned flags);
    Result (*device_count)(int* count);
    Result (*device_get)(int* device, int ordinal);
    Result (*device_name)(char* name, int length, int device);
    Result (*device_memory)(size_t* bytes, int device);
    Result (*device_attribute)(int* value, int attribute, int device);
    Result (*context_retain)(Handle* context, int device);
    Result (*context_release)(int device);
    Result (*context_set)(Handle context);
    Result (*memory_info)(size_t* free, size_t* total);
    Result (*module_load)(Handle* module, const void* image);
    Result (*module_function)(Handle* function, Handle module, const char* name);
    Result (*memory_take)(DevicePointer* memory, size_t bytes);
    Result (*memory_free)(DevicePointer memory);
    Result (*host_take)(void** memory, size_t bytes, unsigned flags);
    Result (*host_free)(void* memory);
    Result (*begin_copy_in)(DevicePointer to, const void* from, size_t bytes, Handle stream);
    Result (*begin_copy_out)(void* to, DevicePointer from, size_t bytes, Handle stream);
    Result (*begin_fill)(DevicePointer memory, unsigned value, size_t words, Handle stream);
    Result (*stream_create)(Handle* stream, unsigned flags);
    Result (*stream_destroy)(Handle stream);
    Result (*stream_wait)(Handle stream);
    Result (*launch)(Handle function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                     unsigned block_y, unsigned block_z, unsigned shared_bytes, Handle stream, void** arguments,
                     void** extra);
    Result (*error_text)(Result result, const char** text);

    // Throws DriverError for everything but success.
    void check(Result result, const char* what) const;
};

}  // namespace jangtq::cuda
