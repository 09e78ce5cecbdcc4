// Which rows meet which experts, as the kernels read it: pairs sorted by expert, cut into tiles. Knows no GPU.
#pragma once

#include <cstdint>
#include <vector>

#include "gpu.h"

namespace jangtq::cuda {

// As TilePairs of source/layout.cuh.
struct Tile {
    int32_t expert;
    int32_t first;
    int32_t count;
};

// Rows of one expert that a kernel computes together, as in source/layout.cuh. Both kernels give the same bits.
constexpr int32_t kFewRows = 8, kManyRows = 32;

struct Pairs {
    std::vector<int32_t> rows;
    std::vector<float> weights;
    std::vector<Tile> tiles;
    bool many = false;

    // Of rows `first` to before `end` of the call, counted from `first`. Returns a JangtqStatus.
    int32_t plan(const JangtqGpuLayer& layer, const JangtqCall& call, int64_t first, int64_t end, int64_t* offender);

   private:
    void cut_tiles();

    std::vector<int32_t> positions_;  // of each slot, -1 where it is unused
    std::vector<int32_t> starts_;     // of each expert's pairs, and their end
};

}  // namespace jangtq::cuda
