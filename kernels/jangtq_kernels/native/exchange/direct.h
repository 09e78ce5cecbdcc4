// A layer's exchange in two calls: all that is asked leaves in the first, all that is answered is added in the second.
// Nothing here keeps state: what the second call leaves, Python goes on with from the same inboxes.
#pragma once

#include "exchange/exchange.h"
#include "sockets/inbox.h"

#pragma GCC visibility push(default)
extern "C" {

enum JangtqTaken : int64_t {
    JANGTQ_TAKEN = 0,         // every answer was added, and is no longer in its inbox
    JANGTQ_WAITS = 1,         // for an answer, longer than its socket's time-out
    JANGTQ_NOT_ORDINARY = 2,  // a connection broke, or an answer is wrong, or a grid does not suit
};

// What both calls say of an exchange.
struct JangtqTurnFacts {
    int64_t is_whole;     // every expert has an owner, and of each part with an inbox the whole frame was sent
    int64_t carried;      // parts without an inbox
    int64_t proof_ns;     // what the proofs of all answers took
    int64_t received_ns;  // when the last answer of an inbox was there, on the clock of wire/clock.h
};

// Chooses the rows' exponents as jangtq_choose_exponents, encodes as jangtq_encode, and sends the frame of each part
// that has an inbox. inboxes: [worker_count], null where Python sends. asked->exponents are these `exponents`.
int64_t jangtq_ask(const JangtqGrids* grids, double factor, const JangtqCallRows* asked, int8_t* exponents,
                   JangtqInboxState* const* inboxes, JangtqEncodedPart* parts, int32_t* row_index, uint8_t* frames,
                   int64_t capacity, JangtqTurnFacts* facts);

// Receives the answers to parts that have an inbox, and adds all as jangtq_add does; returns a JangtqTaken.
// replies: one for each part with rows, in their order; Python sets frame and frame_bytes where there is no inbox.
int64_t jangtq_take(const JangtqGrids* grids, const JangtqCallRows* asked, JangtqInboxState* const* inboxes,
                    const JangtqEncodedPart* parts, const int32_t* row_index, JangtqPartReply* replies, float* values,
                    int8_t* finest, JangtqTurnFacts* facts);

}  // extern "C"
#pragma GCC visibility pop
