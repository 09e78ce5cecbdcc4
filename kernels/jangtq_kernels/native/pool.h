// What a pool is to the functions of the C interface: threads, an instruction set, and memory that is kept.
#pragma once

#include <mutex>
#include <vector>

#include "dense_kernel.h"
#include "experts.h"
#include "kernel.h"

namespace jangtq {

struct Isa {
    const char* name;
    Forward float32;
    Forward int8;
    const DenseKernel* dense;
};

}  // namespace jangtq

struct JangtqPool {
    JangtqPool(int64_t threads, const jangtq::Isa& isa, bool int8, jangtq::Prefetch of_single_rows)
        : pool(threads), forward(int8 ? isa.int8 : isa.float32), dense(*isa.dense), single(of_single_rows), space(),
          by_thread(static_cast<size_t>(threads)), states(static_cast<size_t>(threads)) {
        space.prepared_by_thread = std::vector<jangtq::Scratch>(static_cast<size_t>(threads));
    }
    jangtq::ThreadPool pool;
    jangtq::Forward forward;
    const jangtq::DenseKernel& dense;
    jangtq::Prefetch single;
    jangtq::Workspace space;
    jangtq::Plan plan;
    std::vector<jangtq::Scratch> by_thread;
    std::vector<jangtq::Scratch> states;
    jangtq::Scratch prepared, shared;
    jangtq::TaskCounter rows, tasks, merges;
    std::mutex turn;  // calls of one pool take turns, whatever threads they come from
};
