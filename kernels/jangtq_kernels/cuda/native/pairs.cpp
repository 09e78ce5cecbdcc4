// See pairs.h.
#include "pairs.h"

#include <algorithm>
#include <cmath>

namespace jangtq::cuda {

int32_t Pairs::plan(const JangtqGpuLayer& layer, const JangtqCall& call, int64_t first, int64_t end,
                    int64_t* offender) {
    const int64_t slots = call.slot_count;
    positions_.assign(static_cast<size_t>((end - first) * slots), -1);
    starts_.assign(static_cast<size_t>(layer.experts) + 1, 0);
    for (int64_t i = first * slots; i < end * slots; ++i) {
        const int32_t expert = call.expert_ids[i];
        if (!std::isfinite(call.router_weights[i])) return JANGTQ_WEIGHTS_NOT_FINITE;
        if (expert == -1) continue;
        const int32_t position = expert >= 0 && expert < layer.position_count ? layer.positions[expert] : -1;
        if (position < 0) {
            *offender = i;
            return JANGTQ_FOREIGN_EXPERT;
        }
        positions_[static_cast<size_t>(i - first * slots)] = position;
        ++starts_[static_cast<size_t>(position) + 1];
    }
    for (size_t expert = 1; expert < starts_.size(); ++expert) starts_[expert] += starts_[expert - 1];
    rows.resize(static_cast<size_t>(starts_.back()));
    weights.resize(rows.size());
    std::vector<int32_t> next = starts_;
    for (size_t i = 0; i < positions_.size(); ++i) {
        if (positions_[i] < 0) continue;
        const auto pair = static_cast<size_t>(next[static_cast<size_t>(positions_[i])]++);
        rows[pair] = static_cast<int32_t>(static_cast<int64_t>(i) / slots);
        weights[pair] = call.router_weights[first * slots + static_cast<int64_t>(i)];
    }
    cut_tiles();
    return JANGTQ_OK;
}

void Pairs::cut_tiles() {
    int32_t used = 0;
    for (size_t expert = 0; expert + 1 < starts_.size(); ++expert) used += starts_[expert + 1] > starts_[expert];
    many = static_cast<int64_t>(rows.size()) > int64_t{kFewRows} * used;
    const int32_t most = many ? kManyRows : kFewRows;
    tiles.clear();
    for (size_t expert = 0; expert + 1 < starts_.size(); ++expert)
        for (int32_t pair = starts_[expert]; pair < starts_[expert + 1]; pair += most)
            tiles.push_back({static_cast<int32_t>(expert), pair, std::min(most, starts_[expert + 1] - pair)});
}

}  // namespace jangtq::cuda
