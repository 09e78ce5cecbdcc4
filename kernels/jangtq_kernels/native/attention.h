// The C interface of attention over a KV cache as the coordinator keeps it, on a pool of pool.h.
#pragma once

#include <cstdint>

#include "dense.h"

#pragma GCC visibility push(default)
extern "C" {

// Keys and values are matrices whose rows are the head's numbers of one token: [rows][kv heads][columns] of them.
// Query token t of a row sees the first lengths[row] - tokens + t + 1 columns of its row; that is one at least.
struct JangtqAttention {
    const float* queries;  // [rows][heads][tokens][keys.in]
    JangtqDense keys;
    JangtqDense values;
    const int64_t* lengths;  // [rows], of the tokens in the cache, those of the queries included
    int64_t rows;
    int64_t heads;  // a multiple of kv_heads: neighbours share keys and values
    int64_t kv_heads;
    int64_t tokens;
    int64_t columns;
    float scale;  // of scores
    float* answers;  // [rows][tokens][heads][values.in]
};

// A JangtqStatus, as of jangtq_multiply_dense. A token's answer depends on its query and on what it sees alone, to
// the bit.
int32_t jangtq_attend(JangtqPool* pool, const JangtqAttention* call);

}
#pragma GCC visibility pop
