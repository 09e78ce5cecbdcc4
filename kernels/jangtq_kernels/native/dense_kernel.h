// What each instruction set provides for dense matrices and attention.
#pragma once

#include <cstdint>

#include "attention.h"
#include "dense.h"
#include "scratch.h"

namespace jangtq {

// So many groups of a row lie in memory, the last ones zeros: whole vectors of any width.
inline int64_t padded_groups(int64_t groups) { return (groups + 15) / 16 * 16; }

// Columns `first` to `last` - 1 of the products of rows [rows][matrix.in] with a matrix, into [rows][matrix.out].
// prepared: the rows as `prepare` leaves them, for matrices of codes.
struct DensePart {
    const JangtqDense& matrix;
    const float* rows;
    const float* prepared;  // [rows][prepared_floats]
    int64_t prepared_floats;
    int64_t row_count;
    float* products;
    int64_t first, last;
};

// What is wanted of the attention of one token block: all heads that share a KV head, tokens `token` to `token` +
// `tokens` - 1.
struct AttentionBlock {
    int64_t row, kv_head, token, tokens;
};

// State of one block over chunks of columns: of each query the largest score, the sum of
// exponentials and the values weighted by them.
struct AttentionState {
    float* largest;  // [queries]
    float* sums;     // [queries]
    float* values;   // [queries][values.in]
};

constexpr int64_t kChunkColumns = 256;  // that one part of an attention reads: parts are merged in their order
constexpr int64_t kBlockTokens = 8;     // tokens of a prompt that share what was read
constexpr int64_t kTaskNumbers = 64 * 1024;  // of a matrix: few enough for the second cache as floats, too

// Numbers of matrices or of a KV cache times rows: below, waking a thread takes longer than it saves, and it spins
// afterwards on a core that a worker of the same host may want. About 30 us of one thread.
constexpr int64_t kLeastShared = 768 * 1024;

// What JangtqDense demands.
bool is_dense(const JangtqDense& matrix);

// Columns of a matrix that one task computes; a multiple of 4.
inline int64_t columns_a_task(const JangtqDense& matrix) {
    const int64_t fitting = kTaskNumbers / matrix.in / 4 * 4;
    return fitting < 4 ? 4 : fitting;
}

// What `multiply` wants of scratch memory: columns as floats, or scales and biases of four
// columns, and four rows' own scales.
inline int64_t dense_scratch_floats(const JangtqDense& matrix) {
    if (matrix.bits == 0) return matrix.in * columns_a_task(matrix);
    return 6 * 4 * padded_groups(matrix.in / matrix.group);
}

inline int64_t queries_of(const JangtqAttention& a, const AttentionBlock& block) {
    return block.tokens * (a.heads / a.kv_heads);
}

struct DenseKernel {
    // What `multiply` wants of a row beside its numbers, or in place of them.
    int64_t (*prepared_floats)(int64_t in, int64_t group);
    void (*prepare)(const float* numbers, int64_t in, int64_t group, float* prepared);
    void (*multiply)(const DensePart&, Scratch&);
    void (*look_up)(const JangtqDense&, int64_t row, float* numbers);
    // One chunk of columns on its own; tokens that do not see it leave their state alone.
    void (*attend_chunk)(const JangtqAttention&, const AttentionBlock&, int64_t chunk, const AttentionState&, Scratch&);
    // The second state, of the next chunk, into the first.
    void (*merge)(const JangtqAttention&, const AttentionBlock&, int64_t chunk, const AttentionState& into,
                  const AttentionState& next);
    void (*finish)(const JangtqAttention&, const AttentionBlock&, const AttentionState&);
};

// Tokens that the block's token `t` sees.
inline int64_t columns_seen(const JangtqAttention& a, const AttentionBlock& block, int64_t t) {
    return a.lengths[block.row] - a.tokens + block.token + t + 1;
}

#define JANGTQ_DECLARE_DENSE(isa) \
    namespace isa { extern const DenseKernel dense; }

#if defined(__x86_64__)
JANGTQ_DECLARE_DENSE(avx512)
JANGTQ_DECLARE_DENSE(avx2)
#elif defined(__aarch64__)
JANGTQ_DECLARE_DENSE(neon)
#endif
JANGTQ_DECLARE_DENSE(portable)

}  // namespace jangtq
