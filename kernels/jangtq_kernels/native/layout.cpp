// The sizes and offsets of every structure that Python mirrors, which its loader compares.
#include <cstddef>
#include <cstdint>

#include "answer/answer.h"
#include "attention.h"
#include "dense.h"
#include "exchange/direct.h"
#include "exchange/exchange.h"
#include "experts.h"
#include "sockets/inbox.h"

namespace {

struct Entry {
    const char* structure;
    const char* field;  // null for the structure as a whole
    int64_t offset;
    int64_t size;
};

#define WHOLE(S) {#S, nullptr, 0, sizeof(S)}
#define FIELD(S, f) {#S, #f, offsetof(S, f), sizeof(S::f)}

constexpr Entry kEntries[] = {
    WHOLE(JangtqMatrix), FIELD(JangtqMatrix, codes), FIELD(JangtqMatrix, norms), FIELD(JangtqMatrix, codebook),
    FIELD(JangtqMatrix, signs), FIELD(JangtqMatrix, out), FIELD(JangtqMatrix, in), FIELD(JangtqMatrix, bits),
    WHOLE(JangtqLayer), FIELD(JangtqLayer, gate), FIELD(JangtqLayer, up), FIELD(JangtqLayer, down),
    FIELD(JangtqLayer, experts), FIELD(JangtqLayer, positions), FIELD(JangtqLayer, position_count),
    WHOLE(JangtqCall), FIELD(JangtqCall, rows), FIELD(JangtqCall, expert_ids), FIELD(JangtqCall, router_weights),
    FIELD(JangtqCall, exponents), FIELD(JangtqCall, row_count), FIELD(JangtqCall, slot_count),
    FIELD(JangtqCall, sums), FIELD(JangtqCall, finest),
    WHOLE(JangtqGrids), FIELD(JangtqGrids, finest), FIELD(JangtqGrids, coarsest), FIELD(JangtqGrids, slack_bits),
    FIELD(JangtqGrids, expected_bits),
    WHOLE(JangtqCallRows), FIELD(JangtqCallRows, rows), FIELD(JangtqCallRows, expert_ids), FIELD(JangtqCallRows, router_weights),
    FIELD(JangtqCallRows, exponents), FIELD(JangtqCallRows, owners), FIELD(JangtqCallRows, row_count),
    FIELD(JangtqCallRows, slot_count), FIELD(JangtqCallRows, hidden), FIELD(JangtqCallRows, expert_count),
    FIELD(JangtqCallRows, worker_count), FIELD(JangtqCallRows, row_type), FIELD(JangtqCallRows, layer),
    FIELD(JangtqCallRows, prefill), FIELD(JangtqCallRows, call_id),
    WHOLE(JangtqEncodedPart), FIELD(JangtqEncodedPart, row_count), FIELD(JangtqEncodedPart, picks), FIELD(JangtqEncodedPart, distinct),
    FIELD(JangtqEncodedPart, index_at), FIELD(JangtqEncodedPart, frame_at), FIELD(JangtqEncodedPart, frame_bytes),
    FIELD(JangtqEncodedPart, sent_bytes),
    WHOLE(JangtqPartReply), FIELD(JangtqPartReply, frame), FIELD(JangtqPartReply, frame_bytes), FIELD(JangtqPartReply, call_id),
    FIELD(JangtqPartReply, row_count), FIELD(JangtqPartReply, row_index), FIELD(JangtqPartReply, queue_ns),
    FIELD(JangtqPartReply, compute_ns), FIELD(JangtqPartReply, is_good), FIELD(JangtqPartReply, received_ns),
    WHOLE(JangtqTurnFacts), FIELD(JangtqTurnFacts, is_whole), FIELD(JangtqTurnFacts, carried),
    FIELD(JangtqTurnFacts, proof_ns), FIELD(JangtqTurnFacts, received_ns),
    WHOLE(JangtqInboxState), FIELD(JangtqInboxState, socket), FIELD(JangtqInboxState, memory),
    FIELD(JangtqInboxState, capacity), FIELD(JangtqInboxState, filled), FIELD(JangtqInboxState, poll_ns),
    WHOLE(JangtqDense), FIELD(JangtqDense, codes), FIELD(JangtqDense, scales), FIELD(JangtqDense, biases),
    FIELD(JangtqDense, out), FIELD(JangtqDense, in), FIELD(JangtqDense, bits), FIELD(JangtqDense, group),
    FIELD(JangtqDense, number),
    WHOLE(JangtqDenseCall), FIELD(JangtqDenseCall, rows), FIELD(JangtqDenseCall, row_count),
    FIELD(JangtqDenseCall, matrices), FIELD(JangtqDenseCall, products), FIELD(JangtqDenseCall, matrix_count),
    WHOLE(JangtqAttention), FIELD(JangtqAttention, queries), FIELD(JangtqAttention, keys),
    FIELD(JangtqAttention, values), FIELD(JangtqAttention, lengths), FIELD(JangtqAttention, rows),
    FIELD(JangtqAttention, heads), FIELD(JangtqAttention, kv_heads), FIELD(JangtqAttention, tokens),
    FIELD(JangtqAttention, columns), FIELD(JangtqAttention, scale), FIELD(JangtqAttention, answers),
    WHOLE(JangtqNativeLayer), FIELD(JangtqNativeLayer, forward), FIELD(JangtqNativeLayer, pool),
    FIELD(JangtqNativeLayer, layer),
};

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

int64_t jangtq_layout_entries() { return static_cast<int64_t>(sizeof kEntries / sizeof *kEntries); }

const Entry* jangtq_layout() { return kEntries; }

}  // extern "C"
#pragma GCC visibility pop
