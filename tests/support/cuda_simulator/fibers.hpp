// A kernel's threads as fibers, one block after another. A warp runs as far ahead of the others as it can, which
// brings out missing barriers; shared memory begins as NaN; copies in the background happen when they are waited for.
#pragma once

#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

extern "C" __attribute__((weak, visibility("hidden"))) unsigned char __start_cuda_shared[];
extern "C" __attribute__((weak, visibility("hidden"))) unsigned char __stop_cuda_shared[];

namespace simulator {

constexpr size_t STACK_BYTES = 128 * 1024;
constexpr size_t PAYLOAD_BYTES = 64;
constexpr size_t SHARED_BYTES = 48 * 1024;

struct Three {
  uint32_t x, y, z;
};
struct Position {
  Three thread;
  Three block;
};
struct Launch {
  Three grid;
  Three block;
};

enum class State { ready, at_exchange, at_barrier, returned };

struct Copy {
  void* to;
  const void* from;
};

struct Fiber {
  jmp_buf place;
  ucontext_t context;
  State state;
  std::vector<std::vector<Copy>> copies;
};

struct Warp {
  alignas(16) unsigned char payloads[2][32][PAYLOAD_BYTES];
  uint32_t arrived = 0;
  uint64_t exchanges = 0;
  int line = 0;
};

struct Machine {
  Launch shape;
  Three block;
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  uint32_t current = 0, waiting = 0, returned = 0;
  int barrier_line = 0;
  bool backwards = false;
  void (*body)(void*) = nullptr;
  void* arguments = nullptr;
  std::string failure;
  jmp_buf home;
  Position here;
};

inline Machine machine;

[[noreturn]] inline void give_up(const std::string& why) {
  machine.failure = why + " (thread " + std::to_string(machine.current) + ")";
  _longjmp(machine.home, 1);
}

inline const Launch& launch() { return machine.shape; }
inline uint32_t lane() { return machine.current % 32; }
inline const Position& position() {
  machine.here = {{machine.current, 0, 0}, machine.block};
  return machine.here;
}

inline int64_t find_ready(uint32_t first, uint32_t count) {
  const uint32_t step = machine.backwards ? count - 1 : 1;
  uint32_t next = machine.current >= first && machine.current < first + count ? machine.current - first : 0;
  for (uint32_t tried = 0; tried < count; ++tried) {
    next = (next + step) % count;
    if (machine.fibers[first + next].state == State::ready) return first + next;
  }
  return -1;
}

inline void run_others() {
  int64_t next = find_ready(machine.current / 32 * 32, 32);
  const auto threads = static_cast<uint32_t>(machine.fibers.size());
  if (next < 0) next = find_ready(0, threads);
  if (next == machine.current) return;
  if (next < 0 && machine.returned < threads) give_up("no thread can run: a barrier or an exchange is not reached by all");
  Fiber& leaving = machine.fibers[machine.current];
  if (_setjmp(leaving.place) != 0) return;
  if (next < 0) _longjmp(machine.home, 2);
  machine.current = static_cast<uint32_t>(next);
  _longjmp(machine.fibers[machine.current].place, 1);
}

// Every lane gives `bytes` and takes them back once `together` has seen those of all.
template <class Together>
void exchange(void* payload, size_t bytes, const char* what, int line, Together&& together) {
  Warp& warp = machine.warps[machine.current / 32];
  const uint32_t mine = lane();
  auto& payloads = warp.payloads[warp.exchanges & 1];
  if (warp.arrived == 0) warp.line = line;
  if (warp.line != line) give_up(std::string("a warp diverges at ") + what);
  std::memcpy(payloads[mine], payload, bytes);
  if (++warp.arrived == 32) {
    together(payloads);
    warp.arrived = 0;
    ++warp.exchanges;
    const uint32_t first = machine.current / 32 * 32;
    for (uint32_t i = first; i < first + 32; ++i) {
      if (machine.fibers[i].state == State::at_exchange) machine.fibers[i].state = State::ready;
    }
  } else {
    machine.fibers[machine.current].state = State::at_exchange;
    run_others();
  }
  std::memcpy(payload, payloads[mine], bytes);
}

// `all` receives what each of the 32 lanes gave.
inline void gather(const void* value, size_t bytes, void* all, const char* what) {
  struct Held {
    unsigned char values[4];
  } held;
  std::memcpy(&held, value, bytes);
  Warp& warp = machine.warps[machine.current / 32];
  const uint64_t side = warp.exchanges & 1;
  exchange(&held, bytes, what, -1, [](auto&) {});
  for (int i = 0; i < 32; ++i) std::memcpy(static_cast<char*>(all) + i * bytes, warp.payloads[side][i], bytes);
}

inline void wait_at_barrier(int line) {
  if (machine.waiting > 0 && machine.barrier_line != line) give_up("barriers diverge");
  machine.barrier_line = line;
  machine.fibers[machine.current].state = State::at_barrier;
  if (++machine.waiting < machine.fibers.size()) return run_others();
  machine.waiting = 0;
  for (Fiber& fiber : machine.fibers) fiber.state = State::ready;
}

inline void begin_copy(void* to, const void* from) { machine.fibers[machine.current].copies.back().push_back({to, from}); }
inline void end_group_of_copies() { machine.fibers[machine.current].copies.emplace_back(); }
inline void wait_for_copies(int left) {
  auto& groups = machine.fibers[machine.current].copies;
  while (static_cast<int>(groups.size()) > left + 1) {
    for (const Copy& copy : groups.front()) std::memcpy(copy.to, copy.from, 16);
    groups.erase(groups.begin());
  }
}

inline void live_as_fiber() {
  const uint32_t mine = machine.current;
  if (_setjmp(machine.fibers[mine].place) == 0) _longjmp(machine.home, 3);
  for (;;) {
    machine.body(machine.arguments);
    machine.fibers[mine].state = State::returned;
    ++machine.returned;
    run_others();
  }
}

inline void start_fibers(unsigned char* stacks) {
  for (volatile uint32_t i = 0; i < machine.fibers.size(); i = i + 1) {
    ucontext_t& context = machine.fibers[i].context;
    getcontext(&context);
    context.uc_stack.ss_sp = stacks + STACK_BYTES * i;
    context.uc_stack.ss_size = STACK_BYTES;
    context.uc_link = nullptr;
    makecontext(&context, live_as_fiber, 0);
    machine.current = i;
    if (_setjmp(machine.home) == 0) setcontext(&context);
  }
}

// False where the kernel failed; `failure` then says how.
inline bool run_block() {
  machine.waiting = machine.returned = 0;
  for (Fiber& fiber : machine.fibers) {
    fiber.state = State::ready;
    fiber.copies.assign(1, {});
  }
  for (Warp& warp : machine.warps) warp.arrived = 0;
  if (__start_cuda_shared != nullptr) std::memset(__start_cuda_shared, 0xff, __stop_cuda_shared - __start_cuda_shared);
  machine.current = machine.backwards ? static_cast<uint32_t>(machine.fibers.size()) - 1 : 0;
  const int outcome = _setjmp(machine.home);
  if (outcome == 0) _longjmp(machine.fibers[machine.current].place, 1);
  return outcome == 2;
}

inline bool run_grid() {
  const Three grid = machine.shape.grid;
  for (uint32_t z = 0; z < grid.z; ++z)
    for (uint32_t y = 0; y < grid.y; ++y)
      for (uint32_t x = 0; x < grid.x; ++x) {
        machine.block = {x, y, z};
        if (!run_block()) return false;
      }
  return true;
}

// Null, or how the kernel failed. Blocks are of 32 threads or a multiple, in one dimension.
inline const char* run(const Launch& shape, void (*body)(void*), void* arguments) {
  machine.shape = shape;
  machine.body = body;
  machine.arguments = arguments;
  machine.backwards = std::getenv("CUDA_SIMULATOR_BACKWARDS") != nullptr;
  const uint32_t threads = shape.block.x;
  if (threads % 32 != 0 || threads > 1024) return "a block has 32 to 1024 threads";
  if (__start_cuda_shared != nullptr && __stop_cuda_shared - __start_cuda_shared > static_cast<long>(4 * SHARED_BYTES))
    return "too much shared memory";
  machine.fibers = std::vector<Fiber>(threads);
  machine.warps = std::vector<Warp>(threads / 32);
  void* stacks = mmap(nullptr, STACK_BYTES * threads, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (stacks == MAP_FAILED) return "no memory for stacks";
  start_fibers(static_cast<unsigned char*>(stacks));
  const bool done = run_grid();
  munmap(stacks, STACK_BYTES * threads);
  return done ? nullptr : machine.failure.c_str();
}

template <class... Arguments>
struct BoundKernel {
  void (*kernel)(Arguments...);
  void** arguments;

  template <size_t... I>
  void call(std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_const_t<Arguments>*>(arguments[I])...);
  }
};

// Calls a kernel with arguments as cuLaunchKernel takes them.
template <class... Arguments>
const char* run_kernel(void (*kernel)(Arguments...), const Launch& shape, void** arguments) {
  BoundKernel<Arguments...> bound{kernel, arguments};
  const auto call = [](void* given) {
    static_cast<BoundKernel<Arguments...>*>(given)->call(std::index_sequence_for<Arguments...>());
  };
  return run(shape, call, &bound);
}

}  // namespace simulator
