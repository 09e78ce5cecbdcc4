// See driver.h.
#include "driver.h"

#include <dlfcn.h>

namespace jangtq::cuda {

namespace {

template <class Function>
void find(void* library, const char* name, Function& function) {
    void* found = dlsym(library, name);
    if (found == nullptr) throw DriverError(std::string("the driver has no ") + name + ": it is too old");
    function = reinterpret_cast<Function>(found);
}

}  // namespace

Driver::Driver(const char* name) {
    void* library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) throw DriverError(std::string("no NVIDIA driver: ") + dlerror());
    find(library, "cuInit", init);
    find(library, "cuDeviceGetCount", device_count);
    find(library, "cuDeviceGet", device_get);
    find(library, "cuDeviceGetName", device_name);
    find(library, "cuDeviceTotalMem_v2", device_memory);
    find(library, "cuDeviceGetAttribute", device_attribute);
    find(library, "cuDevicePrimaryCtxRetain", context_retain);
    find(library, "cuDevicePrimaryCtxRelease_v2", context_release);
    find(library, "cuCtxSetCurrent", context_set);
    find(library, "cuMemGetInfo_v2", memory_info);
    find(library, "cuModuleLoadData", module_load);
    find(library, "cuModuleGetFunction", module_function);
    find(library, "cuMemAlloc_v2", memory_take);
    find(library, "cuMemFree_v2", memory_free);
    find(library, "cuMemHostAlloc", host_take);
    find(library, "cuMemFreeHost", host_free);
    find(library, "cuMemcpyHtoDAsync_v2", begin_copy_in);
    find(library, "cuMemcpyDtoHAsync_v2", begin_copy_out);
    find(library, "cuMemsetD32Async", begin_fill);
    find(library, "cuStreamCreate", stream_create);
    find(library, "cuStreamDestroy_v2", stream_destroy);
    find(library, "cuStreamSynchronize", stream_wait);
    find(library, "cuLaunchKernel", launch);
    find(library, "cuGetErrorString", error_text);
}

void Driver::check(Result result, const char* what) const {
    if (result == 0) return;
    const char* text = nullptr;
    error_text(result, &text);
    throw DriverError(std::string(what) + ": " + (text == nullptr ? "unknown error" : text) + " (" +
                      std::to_string(result) + ")");
}

}  // namespace jangtq::cuda
