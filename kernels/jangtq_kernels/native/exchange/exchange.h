// The C interface of the coordinator's codec: one layer's rows become one frame a worker, and the frames of their
// answers become sums. Nothing here keeps state, touches a socket or waits.
#pragma once

#include <cstdint>

#pragma GCC visibility push(default)
extern "C" {

// Which grids there are, and which suit.
struct JangtqGrids {
    int64_t finest;
    int64_t coarsest;
    int64_t slack_bits;     // how much coarser than its finest a row's grid may be
    int64_t expected_bits;  // of the largest answer on the grid that is chosen first
};

// What one layer asks of all workers together.
struct JangtqCallRows {
    const uint8_t* rows;          // [row_count][hidden] of row_type, any alignment
    const int32_t* expert_ids;    // [row_count][slot_count], -1 where a slot is unused
    const float* router_weights;  // [row_count][slot_count]
    const int8_t* exponents;      // [row_count]
    const int32_t* owners;        // [expert_count], the worker that is asked for each, negative where there is none
    int64_t row_count;
    int64_t slot_count;
    int64_t hidden;
    int64_t expert_count;
    int64_t worker_count;  // above every owner
    int64_t row_type;      // ROW_TYPE_... of expert.proto
    int64_t layer;
    int64_t prefill;
    uint64_t call_id;
};

// What one worker is asked for; the last of all parts is of experts without an owner.
struct JangtqEncodedPart {
    int64_t row_count;    // rows of which it has some; nothing else means anything where there are none
    int64_t picks;        // slots that hold an expert of this worker
    int64_t distinct;     // experts among them
    int64_t index_at;     // of its rows in the row index
    int64_t frame_at;     // of its call in the frames
    int64_t frame_bytes;  // 0 without an owner
    int64_t sent_bytes;   // of the frame, by jangtq_ask
};

// The answer to one part.
struct JangtqPartReply {
    const uint8_t* frame;
    int64_t frame_bytes;
    uint64_t call_id;
    int64_t row_count;
    const int32_t* row_index;  // [row_count], null for all rows
    int64_t queue_ns;          // from here on what is found, where is_good
    int64_t compute_ns;
    int64_t is_good;      // whether it is a proven answer to the part
    int64_t received_ns;  // when jangtq_take had it, on the clock of wire/clock.h
};

// The exponents of grids on which answers as large as the sum of their row's squares times `factor` have
// `expected_bits`; rows: [row_count][hidden], values of a ROW_TYPE_... of expert.proto.
void jangtq_choose_exponents(const JangtqGrids* grids, int64_t row_type, const uint8_t* rows, int64_t row_count,
                             int64_t hidden, double factor, int8_t* exponents);

// parts: [worker_count + 1]. row_index: [row_count * (worker_count + 1)]. Returns the bytes of all frames; they were
// written where these fit into `capacity`. Negative where an expert id is beyond the owners.
int64_t jangtq_encode(const JangtqCallRows* asked, JangtqEncodedPart* parts, int32_t* row_index, uint8_t* frames,
                      int64_t capacity);

// Proves and adds replies. values: float32 [row_count][hidden], in place of the sums in units of 2^exponent;
// finest: [row_count]. proof_ns: what the proofs took. Returns whether every reply is good and every grid suits.
int32_t jangtq_add(JangtqPartReply* replies, int64_t reply_count, const JangtqGrids* grids, const int8_t* exponents,
                   int64_t row_count, int64_t hidden, float* values, int8_t* finest, int64_t* proof_ns);

}  // extern "C"
#pragma GCC visibility pop
