// What each instruction set provides: the forward of one call, already checked and planned.
#pragma once

#include <atomic>
#include <vector>

#include "experts.h"
#include "plan.h"
#include "prefetch.h"
#include "scratch.h"
#include "thread_pool.h"

namespace jangtq {

struct Workspace {
    Scratch rotated;      // rows in rotated coordinates
    Scratch activations;  // silu(gate) * up of every pair, rotated in place
    Scratch prepared_rows;
    Scratch prepared_pairs;
    std::vector<Scratch> prepared_by_thread;
    std::vector<uint32_t> magnitudes;  // of the largest answer of each row
    TaskCounter rows, products, pairs, sums;
    std::atomic<bool> finite{true};
};

// Codes that a single row reads are prefetched as the last argument says.
using Forward = void (*)(ThreadPool&, Workspace&, const JangtqLayer&, const JangtqCall&, const Plan&, Prefetch);

#define JANGTQ_DECLARE(isa) \
    namespace isa { \
    void forward(ThreadPool&, Workspace&, const JangtqLayer&, const JangtqCall&, const Plan&, Prefetch); \
    }

#if defined(__x86_64__)
JANGTQ_DECLARE(avx512)
JANGTQ_DECLARE(avx512_int8)
JANGTQ_DECLARE(avx2)
JANGTQ_DECLARE(avx2_int8)
#elif defined(__aarch64__)
JANGTQ_DECLARE(neon)
JANGTQ_DECLARE(neon_int8)
#endif
JANGTQ_DECLARE(portable)
JANGTQ_DECLARE(portable_int8)

}  // namespace jangtq
