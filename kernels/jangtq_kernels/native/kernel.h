// What each instruction set provides: the forward of one call, already checked and planned.
#pragma once

#include <atomic>
#include <vector>

#include "experts.h"
#include "plan.h"
#include "scratch.h"
#include "thread_pool.h"

namespace jangtq {

struct Workspace {
    Scratch rotated;      // rows in rotated coordinates
    Scratch activations;  // silu(gate) * up of every pair, rotated in place
    Scratch row_tables;
    Scratch pair_tables;
    std::vector<Scratch> thread_tables;
    TaskCounter rows, products, pairs, sums;
    std::atomic<bool> finite{true};
};

using Forward = void (*)(ThreadPool&, Workspace&, const JangtqLayer&, const JangtqCall&, const Plan&);

#if defined(__x86_64__)
namespace avx512 { void forward(ThreadPool&, Workspace&, const JangtqLayer&, const JangtqCall&, const Plan&); }
namespace avx2 { void forward(ThreadPool&, Workspace&, const JangtqLayer&, const JangtqCall&, const Plan&); }
#elif defined(__aarch64__)
namespace neon { void forward(ThreadPool&, Workspace&, const JangtqLayer&, const JangtqCall&, const Plan&); }
#endif
namespace portable { void forward(ThreadPool&, Workspace&, const JangtqLayer&, const JangtqCall&, const Plan&); }

}  // namespace jangtq
