// The C interface of an ordinary exchange: one layer's rows are split among workers, sent over plain sockets, and
// the partial sums that come back are added. Whatever is not ordinary is left to the caller, with every byte kept.
#pragma once

#include <cstdint>

#pragma GCC visibility push(default)
extern "C" {

constexpr int64_t kJangtqMostRows = 32;
constexpr int64_t kJangtqMostSlots = 32;

// Instead of a socket: the caller sends what is written to `messages`, and brings the replies.
constexpr int64_t kJangtqByMessage = -2;

// The way to one worker.
struct JangtqWorker {
    int64_t fd;       // a blocking socket whose receives end after a while, or kJangtqByMessage; -1 where there is none
    int64_t poll_ns;  // how long to look again and again before sleeping
};

// What was done with one worker; all stamps are nanoseconds of the monotonic clock.
struct JangtqPart {
    int64_t picks;       // slots that hold an expert of this worker; the rest means nothing where there are none
    int64_t rows;        // rows of which it has some
    int64_t distinct;    // experts among its picks
    int64_t frame_bytes;
    int64_t sent_bytes;  // fewer where the socket took no more
    int64_t sent_errno;  // 0 where the socket only took no more
    int64_t sent_ns;
    int64_t read_bytes;  // of its answer, in its piece of `answers`
    int64_t is_whole;    // 1 where its answer is there and proven
    int64_t queue_ns;
    int64_t compute_ns;
    int64_t decode_ns;
    int64_t read_ns;
};

// Which grids there are, and which suit.
struct JangtqGrids {
    int64_t finest;
    int64_t coarsest;
    int64_t slack_bits;     // how much coarser than its finest a row's grid may be
    int64_t expected_bits;  // of the largest answer on the grid that is chosen first
};

// What the whole exchange came to.
struct JangtqSummary {
    int64_t slowest;  // the worker that took longest, by its own account
    int64_t queue_ns;
    int64_t compute_ns;
    int64_t decode_ns;  // of all answers
    int64_t read_ns;    // when the last answer was there
};

// The arrays of a proven answer by message, inside the message; no alignment.
struct JangtqReply {
    const uint8_t* sums;   // int32 [rows][hidden]
    const int8_t* finest;  // [rows]
};

struct JangtqExchange {
    const JangtqWorker* workers;
    int64_t worker_count;
    const int32_t* owners;  // worker of each expert, negative where there is none
    int64_t expert_count;
    int64_t hidden;
    const JangtqGrids* grids;
    int64_t row_type;             // ROW_TYPE_... of expert.proto
    int8_t* exponents;            // [rows]
    float* sums;                  // [rows][hidden], for `jangtq_collect` only
    JangtqPart* parts;            // [workers]
    JangtqSummary* summary;
    int32_t* row_index;           // [workers][kJangtqMostRows], the rows that each worker has
    uint8_t* answers;             // [workers][answer_stride]
    int64_t answer_stride;        // at least jangtq_answer_bytes(rows, hidden), a multiple of 4
    uint8_t* messages;            // [workers][message_stride], of each worker by message its ExpertCall
    int64_t message_stride;       // at least jangtq_most_message_bytes(rows, slots, hidden)
    JangtqReply* replies;         // [workers], what was taken of workers by message
};

enum JangtqOutcome : int32_t {
    JANGTQ_ORDINARY = 0,
    JANGTQ_NOT_SPLIT = 1,  // nothing was sent: an expert has no worker, or its worker no socket
    JANGTQ_NOT_SENT = 2,   // some socket took not all of its frame
    JANGTQ_NOT_READ = 3,   // some answer did not come whole, in time and without fault
    JANGTQ_MISFITS = 4,    // all answers are there; some row's grid does not suit them
};

int64_t jangtq_answer_bytes(int64_t rows, int64_t hidden);
int64_t jangtq_most_message_bytes(int64_t rows, int64_t slots, int64_t hidden);

// The exponents of grids on which answers as large as the sum of their row's squares times `factor` have
// `expected_bits`; rows: [rows][hidden], values of a ROW_TYPE_... of expert.proto.
void jangtq_first_exponents(const JangtqGrids* grids, int64_t row_type, const uint8_t* rows, int64_t row_count,
                            int64_t hidden, double factor, int8_t* exponents);

// Chooses each row's grid, splits rows, builds one frame a worker, and sends it with one send that never waits, or
// writes one message.
// rows: [rows][hidden], values of the exchange's type. expert_ids: [rows][slots], -1 where a slot is unused.
// router_weights: [rows][slots].
int32_t jangtq_ask(const JangtqExchange* exchange, const uint8_t* rows, const int32_t* expert_ids,
                   const float* router_weights, int64_t layer, int64_t row_count, int64_t slot_count,
                   int64_t prefill, double factor, uint64_t call_id);

// Takes the ExpertReply of a worker by message, which has to stay until it is collected; JANGTQ_NOT_READ where it is
// anything but a proven answer to this call, as protobuf writes it.
int32_t jangtq_take_message(const JangtqExchange* exchange, int64_t worker, uint64_t call_id, const uint8_t* message,
                            int64_t size);

// Reads the answers in the order of the workers, and writes the sums where all rows' grids suit them. Returns after
// `patience_ns` at the latest, but for one receive.
int32_t jangtq_collect(const JangtqExchange* exchange, int64_t row_count, uint64_t call_id, int64_t patience_ns);

}  // extern "C"
#pragma GCC visibility pop
