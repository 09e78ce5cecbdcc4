// A stand-in for NVIDIA's driver: the functions that the CUDA backend uses, over memory of the host. Every block of
// GPU memory ends at a page that nobody may touch, and begins as NaN. An image is the path of a library that
// compiler.py made.
#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <string>

#define exported extern "C" __attribute__((visibility("default")))

namespace {

struct Shape {
  uint32_t grid[3];
  uint32_t block[3];
};
using Kernel = const char* (*)(const Shape*, void**);

struct Block {
  void* mapped;
  size_t bytes;
};
std::map<uint64_t, Block> blocks;
std::string failure = "failed";

constexpr int OUT_OF_MEMORY = 2, NOT_FOUND = 500, LAUNCH_FAILED = 719;

}  // namespace

exported int cuInit(unsigned) { return 0; }
exported int cuDeviceGetCount(int* count) { return *count = 1, 0; }
exported int cuDeviceGet(int* device, int) { return *device = 0, 0; }
exported int cuDeviceGetName(char* name, int length, int) { return std::snprintf(name, length, "simulated GPU"), 0; }
exported int cuDeviceTotalMem_v2(size_t* bytes, int) { return *bytes = size_t{1} << 30, 0; }
exported int cuDeviceGetAttribute(int* value, int attribute, int) { return *value = attribute == 75 ? 9 : 0, 0; }
exported int cuDevicePrimaryCtxRetain(void** context, int) { return *context = &blocks, 0; }
exported int cuDevicePrimaryCtxRelease_v2(int) { return 0; }
exported int cuCtxSetCurrent(void*) { return 0; }
exported int cuMemGetInfo_v2(size_t* free, size_t* total) { return *free = *total = size_t{1} << 30, 0; }
exported int cuModuleLoadData(void** module, const void* image) {
  *module = dlopen(static_cast<const char*>(image), RTLD_NOW | RTLD_LOCAL);
  if (*module == nullptr) failure = dlerror();
  return *module == nullptr ? NOT_FOUND : 0;
}
exported int cuModuleGetFunction(void** function, void* module, const char* name) {
  *function = dlsym(module, (std::string("simulated_") + name).c_str());
  return *function == nullptr ? NOT_FOUND : 0;
}
exported int cuMemAlloc_v2(uint64_t* memory, size_t bytes) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t whole = (bytes + 15) / 16 * 16, pages = (whole + page - 1) / page * page;
  void* mapped = mmap(nullptr, pages + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (bytes == 0 || mapped == MAP_FAILED) return OUT_OF_MEMORY;
  std::memset(mapped, 0xff, pages);
  mprotect(static_cast<char*>(mapped) + pages, page, PROT_NONE);
  *memory = reinterpret_cast<uint64_t>(mapped) + pages - whole;
  blocks[*memory] = {mapped, pages + page};
  return 0;
}
exported int cuMemFree_v2(uint64_t memory) {
  const auto found = blocks.find(memory);
  if (found == blocks.end()) return memory == 0 ? 0 : NOT_FOUND;
  munmap(found->second.mapped, found->second.bytes);
  blocks.erase(found);
  return 0;
}
exported int cuMemHostAlloc(void** memory, size_t bytes, unsigned) { return *memory = ::operator new(bytes), 0; }
exported int cuMemFreeHost(void* memory) { return ::operator delete(memory), 0; }
exported int cuMemcpyHtoDAsync_v2(uint64_t to, const void* from, size_t bytes, void*) {
  return std::memcpy(reinterpret_cast<void*>(to), from, bytes), 0;
}
exported int cuMemcpyDtoHAsync_v2(void* to, uint64_t from, size_t bytes, void*) {
  return std::memcpy(to, reinterpret_cast<void*>(from), bytes), 0;
}
exported int cuMemsetD32Async(uint64_t memory, unsigned value, size_t words, void*) {
  for (size_t i = 0; i < words; ++i) reinterpret_cast<uint32_t*>(memory)[i] = value;
  return 0;
}
exported int cuStreamCreate(void** stream, unsigned) { return *stream = &blocks, 0; }
exported int cuStreamDestroy_v2(void*) { return 0; }
exported int cuStreamSynchronize(void*) { return 0; }
exported int cuLaunchKernel(void* function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                            unsigned block_y, unsigned block_z, unsigned, void*, void** arguments, void**) {
  const Shape shape = {{grid_x, grid_y, grid_z}, {block_x, block_y, block_z}};
  const char* failed = reinterpret_cast<Kernel>(function)(&shape, arguments);
  if (failed != nullptr) failure = failed;
  return failed == nullptr ? 0 : LAUNCH_FAILED;
}
exported int cuGetErrorString(int, const char** text) { return *text = failure.c_str(), 0; }
