// Runs a compiled kernel: one fiber a thread, one threadgroup after another, every buffer between
// guard pages. Knows nothing of Metal's types; the shim calls `exchange` and `wait_at_barrier`.
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <vector>

#define exported extern "C" __attribute__((visibility("default")))

#include "guarded_buffer.hpp"
#include "shim.hpp"
// Of the shim only the declarations are wanted here, not Metal's words.
#undef device
#undef constant
#undef threadgroup
#undef thread
#undef double

// Bounds of the section that holds every threadgroup variable; absent when the kernel has none.
extern "C" __attribute__((weak, visibility("hidden"))) unsigned char __start_metal_threadgroup[];
extern "C" __attribute__((weak, visibility("hidden"))) unsigned char __stop_metal_threadgroup[];

extern "C" void run_thread(void* const* buffers, const simulator::ThreadPosition& position);

struct Launch {
  uint32_t grid[3];
  uint32_t threadgroup[3];
  const HostBuffer* buffers;
  uint32_t buffer_count;
  int32_t backwards;
  char* message;
  uint64_t message_bytes;
};

namespace simulator {
namespace {

constexpr size_t stack_bytes = 64 * 1024;
constexpr unsigned char poison = 0xFF;

enum class State { ready, at_exchange, at_barrier, returned };

struct Fiber {
  jmp_buf place;
  ucontext_t context;
  State state;
  int line;
  const char* operation;
  uint64_t exchanges;
  ThreadPosition position;
};

struct SimdGroup {
  alignas(16) unsigned char payloads[2][simd_width][payload_bytes];
  uint32_t present[2];
  uint32_t arrived;
  const char* operation;
  int line;
};

// One launch at a time in a process, which the caller sees to: signal handlers belong to the process.
struct Machine {
  std::vector<Fiber> fibers;
  std::vector<SimdGroup> groups;
  std::vector<GuardedBuffer> buffers;
  std::vector<void*> pointers;
  unsigned char* stacks;
  uint32_t threads;
  uint32_t current;
  uint32_t waiting;
  uint32_t returned;
  int barrier_line;
  const Launch* launch;
  jmp_buf home;
} machine;

[[noreturn]] void give_up(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(machine.launch->message, machine.launch->message_bytes, format, arguments);
  va_end(arguments);
  _longjmp(machine.home, 1);
}

uint32_t lanes_alive(uint32_t group) {
  uint32_t alive = 0;
  const uint32_t first = group * simd_width;
  for (uint32_t i = first; i < first + simd_width && i < machine.threads; ++i) {
    alive += machine.fibers[i].state != State::returned;
  }
  return alive;
}

[[noreturn]] void report_deadlock() {
  for (const Fiber& fiber : machine.fibers) {
    if (fiber.state != State::at_exchange && fiber.state != State::at_barrier) continue;
    give_up("deadlock: thread %u waits in %s at line %d, %u of %u threads wait at a barrier, %u have returned",
            fiber.position.thread_index_in_threadgroup, fiber.operation, fiber.line, machine.waiting,
            machine.threads, machine.returned);
  }
  give_up("deadlock: no thread can run");
}

// The next fiber that can run among `count` from `first` on, after the current one; -1 for none.
int64_t find_ready(uint32_t first, uint32_t count) {
  const uint32_t step = machine.launch->backwards ? count - 1 : 1;
  uint32_t next = (machine.current >= first && machine.current < first + count) ? machine.current - first : 0;
  for (uint32_t tried = 0; tried < count; ++tried) {
    next = (next + step) % count;
    if (machine.fibers[first + next].state == State::ready) return first + next;
  }
  return -1;
}

// Leaves the running fiber for one that can run, or for the launcher when all have returned. A
// SIMD-group runs as far ahead of the others as it can, which brings out missing barriers.
void run_others() {
  const uint32_t lane_0 = machine.current / simd_width * simd_width;
  const uint32_t lanes = machine.threads - lane_0 < simd_width ? machine.threads - lane_0 : simd_width;
  int64_t next = find_ready(lane_0, lanes);
  if (next < 0) next = find_ready(0, machine.threads);
  if (next == machine.current) return;
  if (next < 0 && machine.returned < machine.threads) report_deadlock();
  Fiber& leaving = machine.fibers[machine.current];
  if (_setjmp(leaving.place) != 0) return;
  if (next < 0) _longjmp(machine.home, 2);
  machine.current = static_cast<uint32_t>(next);
  _longjmp(machine.fibers[next].place, 1);
}

void complete_exchange(uint32_t group) {
  SimdGroup& simd = machine.groups[group];
  simd.arrived = 0;
  const uint32_t first = group * simd_width;
  for (uint32_t i = first; i < first + simd_width && i < machine.threads; ++i) {
    if (machine.fibers[i].state == State::at_exchange) machine.fibers[i].state = State::ready;
  }
}

void return_from_kernel(Fiber& fiber) {
  fiber.state = State::returned;
  ++machine.returned;
  const uint32_t group = fiber.position.simdgroup_index_in_threadgroup;
  const SimdGroup& simd = machine.groups[group];
  if (simd.arrived > 0 && simd.arrived == lanes_alive(group)) complete_exchange(group);
}

void live_as_fiber() {
  const uint32_t mine = machine.current;
  if (_setjmp(machine.fibers[mine].place) == 0) _longjmp(machine.home, 3);
  for (;;) {
    run_thread(machine.pointers.data(), machine.fibers[mine].position);
    return_from_kernel(machine.fibers[mine]);
    run_others();
  }
}

void start_fibers() {
  const size_t bytes = stack_bytes * machine.threads;
  void* stacks = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (stacks == MAP_FAILED) give_up("no memory for %u stacks", machine.threads);
  machine.stacks = static_cast<unsigned char*>(stacks);
  for (volatile uint32_t i = 0; i < machine.threads; i = i + 1) {
    ucontext_t& context = machine.fibers[i].context;
    getcontext(&context);
    context.uc_stack.ss_sp = machine.stacks + stack_bytes * i;
    context.uc_stack.ss_size = stack_bytes;
    context.uc_link = nullptr;
    makecontext(&context, live_as_fiber, 0);
    machine.current = i;
    jmp_buf outer;
    memcpy(&outer, &machine.home, sizeof(jmp_buf));
    if (_setjmp(machine.home) == 0) setcontext(&context);
    memcpy(&machine.home, &outer, sizeof(jmp_buf));
  }
}

void report_fault(int, siginfo_t* info, void*) {
  auto* address = static_cast<unsigned char*>(info->si_addr);
  for (size_t i = 0; i < machine.buffers.size(); ++i) {
    const GuardedBuffer& buffer = machine.buffers[i];
    if (!buffer.guards(address)) continue;
    give_up("thread %u touches byte %ld of buffer %zu, which has %zu bytes and is %s",
            machine.fibers[machine.current].position.thread_index_in_threadgroup, long(address - buffer.data), i,
            size_t(buffer.bytes()), buffer.writable() ? "an output" : "a read-only input");
  }
  give_up("thread %u touches memory of no buffer at %p",
          machine.fibers[machine.current].position.thread_index_in_threadgroup, static_cast<void*>(address));
}

void place_threads(const uint3& group, const uint3& groups) {
  const Launch& launch = *machine.launch;
  uint3 size;
  for (int axis = 0; axis < 3; ++axis) {
    const uint32_t left = launch.grid[axis] - group[axis] * launch.threadgroup[axis];
    size[axis] = left < launch.threadgroup[axis] ? left : launch.threadgroup[axis];
  }
  machine.threads = size.x * size.y * size.z;
  machine.returned = machine.waiting = 0;
  const uint32_t simd_groups = (machine.threads + simd_width - 1) / simd_width;
  for (uint32_t i = 0; i < machine.threads; ++i) {
    const uint3 inside = {i % size.x, i / size.x % size.y, i / (size.x * size.y)};
    const uint3 corner = {group.x * launch.threadgroup[0], group.y * launch.threadgroup[1],
                          group.z * launch.threadgroup[2]};
    const uint3 grid = {launch.grid[0], launch.grid[1], launch.grid[2]};
    machine.fibers[i].position = {corner + inside, inside, group, groups, grid, size, i, i % simd_width,
                                  i / simd_width, simd_groups};
    machine.fibers[i].state = State::ready;
    machine.fibers[i].exchanges = 0;
  }
  for (SimdGroup& simd : machine.groups) simd.arrived = 0;
}

void run_threadgroup(const uint3& group, const uint3& groups) {
  place_threads(group, groups);
  if (__start_metal_threadgroup != nullptr) {
    memset(__start_metal_threadgroup, poison, __stop_metal_threadgroup - __start_metal_threadgroup);
  }
  machine.current = machine.launch->backwards ? machine.threads - 1 : 0;
  jmp_buf outer;
  memcpy(&outer, &machine.home, sizeof(jmp_buf));
  const int outcome = _setjmp(machine.home);
  if (outcome == 0) _longjmp(machine.fibers[machine.current].place, 1);
  memcpy(&machine.home, &outer, sizeof(jmp_buf));
  if (outcome == 1) _longjmp(machine.home, 1);
}

void run_grid() {
  const Launch& launch = *machine.launch;
  uint3 groups;
  for (int axis = 0; axis < 3; ++axis) {
    groups[axis] = (launch.grid[axis] + launch.threadgroup[axis] - 1) / launch.threadgroup[axis];
  }
  for (uint32_t z = 0; z < groups.z; ++z) {
    for (uint32_t y = 0; y < groups.y; ++y) {
      for (uint32_t x = 0; x < groups.x; ++x) run_threadgroup(uint3{x, y, z}, groups);
    }
  }
}

void prepare(const Launch& launch) {
  machine.launch = &launch;
  machine.stacks = nullptr;
  machine.threads = launch.threadgroup[0] * launch.threadgroup[1] * launch.threadgroup[2];
  machine.fibers.assign(machine.threads, Fiber{});
  machine.groups.assign((machine.threads + simd_width - 1) / simd_width, SimdGroup{});
  machine.buffers.clear();
  machine.pointers.clear();
}

void bind_buffers() {
  for (uint32_t i = 0; i < machine.launch->buffer_count; ++i) {
    machine.buffers.emplace_back(machine.launch->buffers[i]);
    machine.pointers.push_back(machine.buffers.back().data);
    if (machine.pointers.back() == nullptr) give_up("no memory for buffer %u", i);
  }
}

void collect_outputs() {
  for (size_t i = 0; i < machine.buffers.size(); ++i) {
    if (!machine.buffers[i].collect()) give_up("buffer %zu is written outside its bounds", i);
  }
}

void release() {
  for (const GuardedBuffer& buffer : machine.buffers) buffer.release();
  if (machine.stacks != nullptr) munmap(machine.stacks, stack_bytes * machine.fibers.size());
}

}  // namespace

uint current_lane() { return machine.fibers[machine.current].position.thread_index_in_simdgroup; }

Exchange exchange(const void* payload, uint bytes, const char* operation, int line) {
  Fiber& fiber = machine.fibers[machine.current];
  const ThreadPosition& at = fiber.position;
  SimdGroup& simd = machine.groups[at.simdgroup_index_in_threadgroup];
  const uint32_t side = fiber.exchanges++ & 1;
  if (simd.arrived == 0) {
    simd.present[side] = 0;
    simd.operation = operation;
    simd.line = line;
  }
  if (simd.line != line || strcmp(simd.operation, operation) != 0) {
    give_up("SIMD-group %u diverges: lane %u is in %s at line %d, others in %s at line %d",
            at.simdgroup_index_in_threadgroup, at.thread_index_in_simdgroup, operation, line, simd.operation,
            simd.line);
  }
  memcpy(simd.payloads[side][at.thread_index_in_simdgroup], payload, bytes);
  simd.present[side] |= 1u << at.thread_index_in_simdgroup;
  ++simd.arrived;
  fiber.operation = operation;
  fiber.line = line;
  fiber.state = State::at_exchange;
  if (simd.arrived == lanes_alive(at.simdgroup_index_in_threadgroup)) {
    complete_exchange(at.simdgroup_index_in_threadgroup);
  } else {
    run_others();
  }
  return {simd.payloads[side], simd.present[side]};
}

void wait_at_barrier(int line) {
  Fiber& fiber = machine.fibers[machine.current];
  if (machine.waiting > 0 && machine.barrier_line != line) {
    give_up("barriers diverge: thread %u waits at line %d, others at line %d",
            fiber.position.thread_index_in_threadgroup, line, machine.barrier_line);
  }
  machine.barrier_line = line;
  fiber.operation = "threadgroup_barrier";
  fiber.line = line;
  fiber.state = State::at_barrier;
  if (++machine.waiting < machine.threads) return run_others();
  machine.waiting = 0;
  for (uint32_t i = 0; i < machine.threads; ++i) machine.fibers[i].state = State::ready;
}

}  // namespace simulator

exported uint64_t threadgroup_memory_bytes() {
  return __start_metal_threadgroup == nullptr ? 0 : __stop_metal_threadgroup - __start_metal_threadgroup;
}

// Returns 0, or 1 with the reason in `launch->message`.
exported int run(const Launch* launch) {
  using namespace simulator;
  struct sigaction faults = {}, bus_before, segv_before;
  static unsigned char fault_stack[64 * 1024];
  stack_t alternate = {}, alternate_before;
  alternate.ss_sp = fault_stack;
  alternate.ss_size = sizeof(fault_stack);
  faults.sa_sigaction = report_fault;
  faults.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  sigaltstack(&alternate, &alternate_before);
  sigaction(SIGSEGV, &faults, &segv_before);
  sigaction(SIGBUS, &faults, &bus_before);
  prepare(*launch);
  const int failed = _setjmp(machine.home);
  if (failed == 0) {
    bind_buffers();
    start_fibers();
    run_grid();
    collect_outputs();
  }
  release();
  sigaction(SIGSEGV, &segv_before, nullptr);
  sigaction(SIGBUS, &bus_before, nullptr);
  sigaltstack(&alternate_before, nullptr);
  return failed != 0;
}
