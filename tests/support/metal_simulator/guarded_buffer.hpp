// Buffers between guard pages: reading or writing outside one faults, and what lies between a buffer
// and its page's end is watched. Knows nothing of kernels.
#pragma once

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct HostBuffer {
  unsigned char* data;
  uint64_t bytes;
  int32_t writable;
};

namespace simulator {

class GuardedBuffer {
  static constexpr size_t alignment = 16;
  static constexpr unsigned char canary = 0xFF;

  HostBuffer host;
  unsigned char* mapping = nullptr;
  size_t mapping_bytes = 0;
  size_t page = sysconf(_SC_PAGESIZE);
  // The data ends at the last page's end, but for what alignment takes.
  unsigned char* first = nullptr;
  unsigned char* last = nullptr;

 public:
  unsigned char* data = nullptr;

  explicit GuardedBuffer(const HostBuffer& source) : host(source) {
    const size_t room = (host.bytes + alignment - 1) / alignment * alignment;
    const size_t inner = (room + page - 1) / page * page;
    mapping_bytes = inner + 2 * page;
    void* mapped = mmap(nullptr, mapping_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) return;
    mapping = static_cast<unsigned char*>(mapped);
    first = mapping + page;
    last = first + inner;
    mprotect(first, inner, PROT_READ | PROT_WRITE);
    memset(first, canary, inner);
    data = last - room;
    memcpy(data, host.data, host.bytes);
    if (!host.writable) mprotect(first, inner, PROT_READ);
  }

  bool guards(const unsigned char* address) const {
    return address >= mapping && address < mapping + mapping_bytes;
  }

  uint64_t bytes() const { return host.bytes; }
  bool writable() const { return host.writable; }

  // Copies an output back; false when bytes around it were written.
  bool collect() const {
    if (!host.writable) return true;
    for (const unsigned char* at = first; at < data; ++at) {
      if (*at != canary) return false;
    }
    for (const unsigned char* at = data + host.bytes; at < last; ++at) {
      if (*at != canary) return false;
    }
    memcpy(host.data, data, host.bytes);
    return true;
  }

  void release() const {
    if (mapping != nullptr) munmap(mapping, mapping_bytes);
  }
};

}  // namespace simulator
