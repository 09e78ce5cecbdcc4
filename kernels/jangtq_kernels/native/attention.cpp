// See attention.h: checks a call, and shares it out among a pool's threads by blocks, or by chunks where those are few.
#include "attention.h"

#include <algorithm>
#include <new>
#include <numeric>

#include "pool.h"

namespace {

using jangtq::AttentionBlock;
using jangtq::AttentionState;
using jangtq::kBlockTokens;
using jangtq::kChunkColumns;

constexpr int64_t kRun = 4;  // neighbouring chunks that one thread takes: each fetches what the next one reads

bool fits(const JangtqAttention& a) {
    if (!jangtq::is_dense(a.keys) || !jangtq::is_dense(a.values)) return false;
    if (a.rows < 0 || a.tokens < 1 || a.kv_heads < 1 || a.heads < 1 || a.heads % a.kv_heads != 0) return false;
    const int64_t held = a.rows * a.kv_heads * a.columns;
    if (a.keys.out < held || a.values.out < held) return false;
    return std::all_of(a.lengths, a.lengths + a.rows,
                       [&](int64_t length) { return length >= a.tokens && length <= a.columns; });
}

class Attention {
public:
    Attention(JangtqPool& pool, const JangtqAttention& call)
        : pool_(pool), a_(call), token_blocks_((call.tokens + kBlockTokens - 1) / kBlockTokens),
          blocks_(call.rows * call.kv_heads * token_blocks_),
          most_queries_(std::min(kBlockTokens, call.tokens) * (call.heads / call.kv_heads)),
          state_floats_(most_queries_ * (call.values.in + 2)) {
        const int64_t longest = *std::max_element(call.lengths, call.lengths + call.rows);
        chunks_ = (longest + kChunkColumns - 1) / kChunkColumns;
    }

    void run() {
        const int64_t group = a_.heads / a_.kv_heads;
        for (auto& scratch : pool_.by_thread)
            scratch.floats(group * kChunkColumns + kChunkColumns * (a_.keys.in + a_.values.in));
        for (auto& scratch : pool_.states) scratch.floats(2 * state_floats_);
        pool_.tasks.reset();
        pool_.merges.reset();
        if (read_numbers() < jangtq::kLeastShared) run_by_blocks([](const auto& work) { work(0); });
        else if (blocks_ < 4 * pool_.pool.threads() && chunks_ > 1 && pool_.pool.threads() > 1) run_by_chunks();
        else run_by_blocks([this](const auto& work) { pool_.pool.run(work); });
    }

private:
    // Of keys and values, by each of a group's queries.
    int64_t read_numbers() const {
        const int64_t columns = std::accumulate(a_.lengths, a_.lengths + a_.rows, int64_t{0});
        return columns * a_.kv_heads * (a_.keys.in + a_.values.in) * a_.tokens;
    }

    // A thread takes a whole block, chunk by chunk; `share` runs the work on one thread or on all.
    template <typename Share>
    void run_by_blocks(Share share) {
        const auto work = [&](int64_t thread) {
            jangtq::Scratch& scratch = pool_.by_thread[static_cast<size_t>(thread)];
            float* space = pool_.states[static_cast<size_t>(thread)].floats(0);
            const AttentionState state = state_at(space), next = state_at(space + state_floats_);
            for (int64_t index; pool_.tasks.take(blocks_, index);) {
                const AttentionBlock block = block_at(blocks_ - 1 - index);  // a prompt's last tokens see most
                pool_.dense.attend_chunk(a_, block, 0, state, scratch);
                for (int64_t chunk = 1; chunk < chunks_of(block); ++chunk) {
                    pool_.dense.attend_chunk(a_, block, chunk, next, scratch);
                    pool_.dense.merge(a_, block, chunk, state, next);
                }
                pool_.dense.finish(a_, block, state);
            }
        };
        share(work);
    }

    // Threads share the chunks of all blocks, which are then merged in the same order.
    void run_by_chunks() {
        float* states = pool_.shared.floats(blocks_ * chunks_ * state_floats_);
        pool_.pool.run([&](int64_t thread) {
            jangtq::Scratch& scratch = pool_.by_thread[static_cast<size_t>(thread)];
            const int64_t runs = (chunks_ + kRun - 1) / kRun;
            for (int64_t task; pool_.tasks.take(blocks_ * runs, task);) {
                const int64_t index = task / runs, first = task % runs * kRun;
                const AttentionBlock block = block_at(index);
                for (int64_t chunk = first; chunk < std::min(first + kRun, chunks_of(block)); ++chunk)
                    pool_.dense.attend_chunk(a_, block, chunk,
                                             state_at(states + (index * chunks_ + chunk) * state_floats_), scratch);
            }
            pool_.pool.meet();
            for (int64_t index; pool_.merges.take(blocks_, index);) {
                const AttentionBlock block = block_at(index);
                float* own = states + index * chunks_ * state_floats_;
                for (int64_t chunk = 1; chunk < chunks_of(block); ++chunk)
                    pool_.dense.merge(a_, block, chunk, state_at(own), state_at(own + chunk * state_floats_));
                pool_.dense.finish(a_, block, state_at(own));
            }
        });
    }

    AttentionBlock block_at(int64_t index) const {
        const int64_t token = index % token_blocks_ * kBlockTokens, head = index / token_blocks_;
        return {head / a_.kv_heads, head % a_.kv_heads, token, std::min(kBlockTokens, a_.tokens - token)};
    }

    int64_t chunks_of(const AttentionBlock& block) const {
        return (jangtq::columns_seen(a_, block, block.tokens - 1) + kChunkColumns - 1) / kChunkColumns;
    }

    AttentionState state_at(float* space) const {
        return {space, space + most_queries_, space + 2 * most_queries_};
    }

    JangtqPool& pool_;
    const JangtqAttention& a_;
    int64_t token_blocks_, blocks_, most_queries_, state_floats_;
    int64_t chunks_ = 0;
};

}  // namespace

extern "C" {

int32_t jangtq_attend(JangtqPool* pool, const JangtqAttention* call) {
    if (!fits(*call)) return JANGTQ_MATRICES_UNFIT;
    if (call->rows == 0) return JANGTQ_OK;
    const std::lock_guard<std::mutex> turn(pool->turn);
    try {
        Attention(*pool, *call).run();
    } catch (const std::bad_alloc&) {
        return JANGTQ_OUT_OF_MEMORY;
    }
    return JANGTQ_OK;
}

}
