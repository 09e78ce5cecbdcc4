// Attention over chunks of a KV cache, for one instruction set. Included once for each, with JANGTQ_NAMESPACE set.
#include <cmath>

#include "dense_kernel.h"
#include "numbers.h"
#include "product_tiles.h"
#include "unpack.h"

namespace JANGTQ_NAMESPACE {
namespace {

using jangtq::AttentionBlock;
using jangtq::AttentionState;
using jangtq::kChunkColumns;

// Scores of one query become exponentials, less the largest; returns their sum.
inline float exponentiate(float* scores, int64_t count, float& largest) {
    constexpr int64_t kLanes = 16;
    float most[kLanes], sums[kLanes] = {};
    // Exponentials beyond the end are of minus 87, and cleared: so lanes have no tail.
    const int64_t padded = (count + kLanes - 1) / kLanes * kLanes;
    for (int64_t i = count; i < padded; ++i) scores[i] = scores[0];
    for (int64_t lane = 0; lane < kLanes; ++lane) most[lane] = scores[0];
    for (int64_t i = 0; i < padded; i += kLanes)
        for (int64_t lane = 0; lane < kLanes; ++lane)
            most[lane] = scores[i + lane] > most[lane] ? scores[i + lane] : most[lane];
    // Not in the caller's memory, which scores might overlap: else nothing below becomes vectors.
    float top = most[0];
    for (int64_t lane = 1; lane < kLanes; ++lane) top = most[lane] > top ? most[lane] : top;
    for (int64_t i = 0; i < padded; ++i) scores[i] = exponential(scores[i] - top);
    largest = top;
    for (int64_t i = count; i < padded; ++i) scores[i] = 0.0f;
    for (int64_t i = 0; i < padded; i += kLanes)
        for (int64_t lane = 0; lane < kLanes; ++lane) sums[lane] += scores[i + lane];
    float sum = 0.0f;
    for (int64_t lane = 0; lane < kLanes; ++lane) sum += sums[lane];
    return sum;
}

// Keys and values of one chunk as floats. Where they are read as they are stored, values come from memory while keys
// are multiplied, and the next chunk's keys while values are: else every chunk waits twice.
struct Chunk {
    const float* keys;
    const float* values;
    int64_t to_values;     // bytes from a key to the value that comes meanwhile, or 0
    int64_t to_next_keys;  // bytes from a value to the next chunk's key
};

inline bool is_stored_as_floats(const JangtqAttention& a) {
    return a.keys.bits == 0 && a.keys.number == JANGTQ_FLOAT32 && a.values.bits == 0 &&
           a.values.number == JANGTQ_FLOAT32 && a.keys.in == a.values.in;
}

// One token's heads over the first `count` columns of a chunk.
inline void attend_token(const JangtqAttention& a, const float* queries, const Chunk& chunk, int64_t count,
                         float* scores, const AttentionState& state) {
    const int64_t group = a.heads / a.kv_heads, size = a.keys.in;
    multiply_columns({group, count, size, queries, chunk.keys, scores, a.tokens * size, size, kChunkColumns, true,
                      a.scale, 0.0f, chunk.to_values},
                     0, count);
    for (int64_t head = 0; head < group; ++head)
        state.sums[head] = exponentiate(scores + head * kChunkColumns, count, state.largest[head]);
    multiply_columns({group, a.values.in, count, scores, chunk.values, state.values, kChunkColumns, a.values.in,
                      a.values.in, false, 1.0f, 0.0f, chunk.to_next_keys},
                     0, a.values.in);
}

void attend_chunk(const JangtqAttention& a, const AttentionBlock& block, int64_t chunk, const AttentionState& state,
                  jangtq::Scratch& scratch) {
    const int64_t group = a.heads / a.kv_heads;
    const int64_t first = chunk * kChunkColumns;
    const int64_t count = std::min(kChunkColumns, jangtq::columns_seen(a, block, block.tokens - 1) - first);
    float* scores = scratch.floats(group * kChunkColumns + kChunkColumns * (a.keys.in + a.values.in));
    float* key_space = scores + group * kChunkColumns;
    const int64_t row = (block.row * a.kv_heads + block.kv_head) * a.columns + first;
    Chunk stored{rows_as_floats(a.keys, row, row + count, key_space),
                 rows_as_floats(a.values, row, row + count, key_space + kChunkColumns * a.keys.in), 0, 0};
    if (is_stored_as_floats(a) && block.tokens == 1) {
        stored.to_values = (stored.values - stored.keys) * static_cast<int64_t>(sizeof(float));
        stored.to_next_keys = kChunkColumns * a.keys.in * static_cast<int64_t>(sizeof(float)) - stored.to_values;
    }
    for (int64_t t = 0; t < block.tokens; ++t) {
        const int64_t seen = std::min(kChunkColumns, jangtq::columns_seen(a, block, t) - first);
        if (seen <= 0) continue;
        const int64_t head = block.row * a.heads + block.kv_head * group;
        const float* queries = a.queries + (head * a.tokens + block.token + t) * a.keys.in;
        attend_token(a, queries, stored, seen, scores,
                     {state.largest + t * group, state.sums + t * group, state.values + t * group * a.values.in});
    }
}

inline void merge_query(float& largest, float& sum, float* __restrict values, float next_largest, float next_sum,
                        const float* __restrict next, int64_t size) {
    const float most = next_largest > largest ? next_largest : largest;
    const float kept = exponential(largest - most), added = exponential(next_largest - most);
    largest = most;
    sum = sum * kept + next_sum * added;
    for (int64_t i = 0; i < size; ++i) values[i] = values[i] * kept + next[i] * added;
}

void merge(const JangtqAttention& a, const AttentionBlock& block, int64_t chunk, const AttentionState& into,
           const AttentionState& next) {
    const int64_t group = a.heads / a.kv_heads, size = a.values.in;
    for (int64_t q = 0; q < jangtq::queries_of(a, block); ++q)
        if (jangtq::columns_seen(a, block, q / group) > chunk * kChunkColumns)
            merge_query(into.largest[q], into.sums[q], into.values + q * size, next.largest[q], next.sums[q],
                        next.values + q * size, size);
}

void finish(const JangtqAttention& a, const AttentionBlock& block, const AttentionState& state) {
    const int64_t group = a.heads / a.kv_heads, size = a.values.in;
    for (int64_t q = 0; q < jangtq::queries_of(a, block); ++q) {
        const int64_t token = block.row * a.tokens + block.token + q / group;
        float* answers = a.answers + (token * a.heads + block.kv_head * group + q % group) * size;
        const float share = 1.0f / state.sums[q];
        for (int64_t i = 0; i < size; ++i) answers[i] = state.values[q * size + i] * share;
    }
}

}  // namespace
}  // namespace JANGTQ_NAMESPACE
