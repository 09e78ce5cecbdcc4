// The forward of one call. Included once for each instruction set, with JANGTQ_NAMESPACE set.
#include <cmath>
#include <cstring>

#include "grid.h"
#include "kernel.h"
#include "layout.h"
#include "multiply.h"
#include "numbers.h"
#include "rotation.h"

namespace JANGTQ_NAMESPACE {
namespace {

using jangtq::Chunk;
using jangtq::kChunk;
using jangtq::kLargestBlock;
using jangtq::Pair;
using jangtq::Plan;
using jangtq::ThreadPool;
using jangtq::Workspace;

struct Task {
    ThreadPool& pool;
    Workspace& space;
    const JangtqLayer& layer;
    const JangtqCall& call;
    const Plan& plan;
    Prefetch single;       // of codes that a single row reads
    int64_t hidden;        // floats of a hidden row, padded to whole words and vectors
    int64_t intermediate;  // the same for a row between up and down
};

inline int64_t padded_row(int64_t in) { return (in + 63) / 32 * 32; }

inline const uint32_t* expert_codes(const JangtqMatrix& m, int64_t position) {
    return m.codes + position * jangtq::padded_out(m.out) * jangtq::words_of(m.in, m.bits);
}

inline const float* pair_activations(const Task& task, int64_t pair) {
    return task.space.activations.floats(0) + pair * task.intermediate;
}

inline void rotate_row(const Task& task, int64_t row) {
    const int64_t size = task.layer.gate.in;
    float* x = task.space.rotated.floats(0) + row * task.hidden;
    const float* given = task.call.rows + row * size;
    bool finite = true;
    for (int64_t i = 0; i < size; ++i) {
        finite &= std::fabs(given[i]) <= 3.402823466e38f;
        x[i] = given[i];
    }
    if (!finite) task.space.finite.store(false, std::memory_order_relaxed);
    std::memset(x + size, 0, static_cast<size_t>(task.hidden - size) * sizeof(float));
    rotate(x, task.layer.gate.signs, size);
}

// silu(gate) * up for one block of a chunk's rows.
inline void activate_block(const Task& task, const Chunk& chunk, int64_t first, const float* const* prepared) {
    const JangtqMatrix &gate = task.layer.gate, &up = task.layer.up;
    const int64_t padded = jangtq::padded_out(gate.out);
    const int64_t outputs = jangtq::block_rows(first, padded);
    alignas(64) float gates[kChunk][kLargestBlock], ups[kChunk][kLargestBlock];
    float* gate_rows[kChunk] = {gates[0], gates[1], gates[2], gates[3]};
    float* up_rows[kChunk] = {ups[0], ups[1], ups[2], ups[3]};
    const int64_t words = jangtq::words_of(gate.in, gate.bits);
    multiply_block(expert_codes(gate, chunk.position) + first * words, words, outputs, gate.bits, chunk.count,
                   task.single, prepared, gate_rows);
    multiply_block(expert_codes(up, chunk.position) + first * words, words, outputs, up.bits, chunk.count,
                   task.single, prepared, up_rows);
    const int64_t end = first + outputs < gate.out ? outputs : gate.out - first;
    const uint16_t* gate_norms = gate.norms + chunk.position * gate.out + first;
    const uint16_t* up_norms = up.norms + chunk.position * up.out + first;
    for (int64_t r = 0; r < chunk.count; ++r) {
        float* h = const_cast<float*>(pair_activations(task, chunk.first + r)) + first;
        for (int64_t i = 0; i < end; ++i) {
            const float g = gates[r][i] * widen(gate_norms[i]);
            h[i] = g / (1.0f + exponential(-g)) * (ups[r][i] * widen(up_norms[i]));
        }
    }
}

inline void rotate_pair(const Task& task, int64_t pair) {
    const int64_t size = task.layer.down.in;
    float* h = const_cast<float*>(pair_activations(task, pair));
    std::memset(h + size, 0, static_cast<size_t>(task.intermediate - size) * sizeof(float));
    rotate(h, task.layer.down.signs, size);
}

// Nearest integer, ties to even, of a magnitude up to 2^26; from 2^23 on there are no fractions left.
inline int32_t nearest(float steps) {
    const float fraction_bits = std::copysign(8388608.0f, steps);
    return static_cast<int32_t>(std::fabs(steps) < 8388608.0f ? (steps + fraction_bits) - fraction_bits : steps);
}

// Adds weighted answers on their grid to a row's sums; returns the largest magnitude among them.
inline uint32_t add_answers(const float* products, const uint16_t* norms, int64_t count, float weight, float scale,
                            int32_t* sums) {
    constexpr float kMost = 1 << jangtq::kAnswerBits;
    int32_t largest = 0;
    for (int64_t i = 0; i < count; ++i) {
        const float answer = weight * (products[i] * widen(norms[i]));
        int32_t magnitude;
        std::memcpy(&magnitude, &answer, sizeof magnitude);
        magnitude &= 0x7fffffff;
        largest = magnitude > largest ? magnitude : largest;
        // What does not fit is cut off, for the conversion's sake; so is NaN.
        const float steps = answer * scale;
        const float above = steps > -kMost ? steps : -kMost;
        sums[i] += nearest(above < kMost ? above : kMost);
    }
    return static_cast<uint32_t>(largest);
}

// Adds one block of a chunk's weighted answers to its rows' sums.
inline void add_block(const Task& task, const Chunk& chunk, int64_t first, const float* const* prepared) {
    const JangtqMatrix& down = task.layer.down;
    const int64_t outputs = jangtq::block_rows(first, jangtq::padded_out(down.out));
    const int64_t words = jangtq::words_of(down.in, down.bits);
    alignas(64) float answers[kChunk][kLargestBlock];
    float* answer_rows[kChunk] = {answers[0], answers[1], answers[2], answers[3]};
    multiply_block(expert_codes(down, chunk.position) + first * words, words, outputs, down.bits, chunk.count,
                   task.single, prepared, answer_rows);
    const int64_t end = first + outputs < down.out ? outputs : down.out - first;
    const uint16_t* norms = down.norms + chunk.position * down.out + first;
    for (int64_t r = 0; r < chunk.count; ++r) {
        const Pair& pair = task.plan.pairs[static_cast<size_t>(chunk.first + r)];
        const float scale = jangtq::grid_scale(task.call.exponents[pair.row]);
        int32_t* sums = task.call.sums + pair.row * down.out + first;
        jangtq::raise_magnitude(task.space.magnitudes[static_cast<size_t>(pair.row)],
                      add_answers(answers[r], norms, end, pair.weight, scale, sums));
    }
}

inline void clear_block(const Task& task, int64_t first) {
    const int64_t out = task.layer.down.out;
    const int64_t outputs = jangtq::block_rows(first, jangtq::padded_out(out));
    const int64_t end = first + outputs < out ? outputs : out - first;
    for (int64_t row = 0; row < task.call.row_count; ++row)
        std::memset(task.call.sums + row * out + first, 0, static_cast<size_t>(end) * sizeof(int32_t));
}

inline std::vector<int64_t> block_starts(int64_t out) {
    std::vector<int64_t> starts;
    const int64_t padded = jangtq::padded_out(out);
    for (int64_t first = 0; first < padded; first += jangtq::block_rows(first, padded)) starts.push_back(first);
    return starts;
}

// Few chunks: threads share every expert, block by block, and the prepared rows.
void forward_by_blocks(const Task& task) {
    const JangtqMatrix &gate = task.layer.gate, &down = task.layer.down;
    const int64_t row_floats = prepared_floats(gate.in, gate.bits), pair_floats = prepared_floats(down.in, down.bits);
    const auto pair_count = static_cast<int64_t>(task.plan.pairs.size());
    const auto chunk_count = static_cast<int64_t>(task.plan.chunks.size());
    float* prepared_rows = task.space.prepared_rows.floats(task.call.row_count * row_floats);
    float* prepared_pairs = task.space.prepared_pairs.floats(pair_count * pair_floats);
    const auto starts = block_starts(gate.out), down_starts = block_starts(down.out);
    const auto blocks = static_cast<int64_t>(starts.size()), down_blocks = static_cast<int64_t>(down_starts.size());
    task.pool.run([&](int64_t) {
        int64_t next;
        while (task.space.rows.take(task.call.row_count, next)) {
            rotate_row(task, next);
            prepare_row(task.space.rotated.floats(0) + next * task.hidden, gate.in, gate.bits, gate.codebook,
                        prepared_rows + next * row_floats);
        }
        task.pool.meet();
        while (task.space.products.take(chunk_count * blocks, next)) {
            const Chunk& chunk = task.plan.chunks[static_cast<size_t>(next / blocks)];
            const float* prepared[kChunk];
            for (int64_t r = 0; r < chunk.count; ++r)
                prepared[r] = prepared_rows + task.plan.pairs[static_cast<size_t>(chunk.first + r)].row * row_floats;
            activate_block(task, chunk, starts[static_cast<size_t>(next % blocks)], prepared);
        }
        task.pool.meet();
        while (task.space.pairs.take(pair_count, next)) {
            rotate_pair(task, next);
            prepare_row(pair_activations(task, next), down.in, down.bits, down.codebook,
                        prepared_pairs + next * pair_floats);
        }
        task.pool.meet();
        while (task.space.sums.take(down_blocks, next)) {
            const int64_t first = down_starts[static_cast<size_t>(next)];
            clear_block(task, first);
            for (const Chunk& chunk : task.plan.chunks) {
                const float* prepared[kChunk];
                for (int64_t r = 0; r < chunk.count; ++r)
                    prepared[r] = prepared_pairs + (chunk.first + r) * pair_floats;
                add_block(task, chunk, first, prepared);
            }
        }
    });
}

// Many chunks: a thread takes a whole chunk, with prepared rows of its own that stay in its cache.
void forward_by_chunks(const Task& task) {
    const JangtqMatrix &gate = task.layer.gate, &down = task.layer.down;
    const int64_t row_floats = prepared_floats(gate.in, gate.bits), pair_floats = prepared_floats(down.in, down.bits);
    const auto chunk_count = static_cast<int64_t>(task.plan.chunks.size());
    const auto starts = block_starts(gate.out), down_starts = block_starts(down.out);
    const int64_t own_floats = kChunk * (row_floats > pair_floats ? row_floats : pair_floats);
    for (auto& scratch : task.space.prepared_by_thread) scratch.floats(own_floats);
    task.pool.run([&](int64_t thread) {
        float* own = task.space.prepared_by_thread[static_cast<size_t>(thread)].floats(0);
        int64_t next;
        while (task.space.rows.take(task.call.row_count, next)) rotate_row(task, next);
        task.pool.meet();
        while (task.space.products.take(chunk_count, next)) {
            const Chunk& chunk = task.plan.chunks[static_cast<size_t>(next)];
            const float* prepared[kChunk];
            for (int64_t r = 0; r < chunk.count; ++r) {
                const int64_t row = task.plan.pairs[static_cast<size_t>(chunk.first + r)].row;
                prepared[r] = own + r * row_floats;
                prepare_row(task.space.rotated.floats(0) + row * task.hidden, gate.in, gate.bits, gate.codebook,
                            own + r * row_floats);
            }
            for (const int64_t first : starts) activate_block(task, chunk, first, prepared);
            for (int64_t r = 0; r < chunk.count; ++r) rotate_pair(task, chunk.first + r);
        }
        task.pool.meet();
        const auto blocks = static_cast<int64_t>(down_starts.size());
        const int64_t begin = blocks * thread / task.pool.threads(), end = blocks * (thread + 1) / task.pool.threads();
        for (int64_t b = begin; b < end; ++b) clear_block(task, down_starts[static_cast<size_t>(b)]);
        for (const Chunk& chunk : task.plan.chunks) {
            const float* prepared[kChunk];
            for (int64_t r = 0; r < chunk.count; ++r) {
                prepared[r] = own + r * pair_floats;
                prepare_row(pair_activations(task, chunk.first + r), down.in, down.bits, down.codebook,
                            own + r * pair_floats);
            }
            for (int64_t b = begin; b < end; ++b)
                add_block(task, chunk, down_starts[static_cast<size_t>(b)], prepared);
        }
    });
}

}  // namespace

void forward(ThreadPool& pool, Workspace& space, const JangtqLayer& layer, const JangtqCall& call, const Plan& plan,
             Prefetch single) {
    const Task task{pool, space, layer, call, plan, single, padded_row(layer.gate.in), padded_row(layer.down.in)};
    space.rotated.floats(call.row_count * task.hidden);
    space.activations.floats(static_cast<int64_t>(plan.pairs.size()) * task.intermediate);
    const bool few = static_cast<int64_t>(plan.chunks.size()) < 4 * pool.threads() + 8;
    if (few) forward_by_blocks(task);
    else forward_by_chunks(task);
}

}  // namespace JANGTQ_NAMESPACE
