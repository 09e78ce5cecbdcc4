// Which experts each row picked here, sorted by expert so that rows of one expert share its codes.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "experts.h"

namespace jangtq {

constexpr int64_t kChunk = 4;  // rows that one pass over an expert's codes serves at most

struct Pair {
    int32_t position;
    int32_t row;
    float weight;
};

// `count` pairs from `first` on, all of one expert: 1, 2 or 4.
struct Chunk {
    int32_t position;
    int32_t first;
    int32_t count;
};

struct Plan {
    std::vector<Pair> pairs;
    std::vector<Chunk> chunks;
};

inline int32_t plan_pairs(const JangtqLayer& layer, const JangtqCall& call, Plan& plan, int64_t* offender) {
    plan.pairs.clear();
    for (int64_t index = 0; index < call.row_count * call.slot_count; ++index) {
        const int32_t expert = call.expert_ids[index];
        if (expert == -1) continue;
        *offender = index;
        if (expert < 0 || expert >= layer.position_count || layer.positions[expert] < 0 ||
            layer.positions[expert] >= layer.experts)
            return JANGTQ_FOREIGN_EXPERT;
        if (!std::isfinite(call.router_weights[index])) return JANGTQ_WEIGHTS_NOT_FINITE;
        plan.pairs.push_back({layer.positions[expert], static_cast<int32_t>(index / call.slot_count),
                              call.router_weights[index]});
    }
    std::stable_sort(plan.pairs.begin(), plan.pairs.end(),
                     [](const Pair& a, const Pair& b) { return a.position < b.position; });
    return JANGTQ_OK;
}

inline void cut_chunks(Plan& plan) {
    plan.chunks.clear();
    const int32_t end = static_cast<int32_t>(plan.pairs.size());
    for (int32_t first = 0; first < end;) {
        const int32_t position = plan.pairs[first].position;
        int32_t same = 1;
        while (first + same < end && same < kChunk && plan.pairs[first + same].position == position) ++same;
        if (same == 3) same = 2;
        plan.chunks.push_back({position, first, same});
        first += same;
    }
}

}  // namespace jangtq
