// The C interface of calls that come as protobuf messages: from the bytes of a call to those of its answer.
#pragma once

#include <cstdint>

#include "answers.h"

#pragma GCC visibility push(default)
extern "C" {

// What becomes of a message that is not answered here; such a call is as if it had never been asked.
enum JangtqNoReply : int64_t {
    JANGTQ_LEFT_TO_PYTHON = 0,  // no ordinary call, something about it is wrong, or the device is not free
    JANGTQ_TOO_LONG = -1,       // an ordinary call of more rows than the caller would wait for
};

// Room for the answers of one stream, whose calls come one after the other.
struct JangtqStream;

// Null when there is no memory. `reply`: room for jangtq_most_reply_bytes. It, the admission and `asked_ns`, which says
// when a call was answered last, outlive the stream.
JangtqStream* jangtq_open_stream(JangtqAdmission* admission, uint8_t* reply, int64_t* asked_ns);
void jangtq_close_stream(JangtqStream* stream);
int64_t jangtq_most_reply_bytes(const JangtqAdmission* admission);

// Returns the bytes of the reply that it wrote, an ExpertReply as protobuf writes it, or why there is none.
// `row_ns` receives the nanoseconds that each row took. Whoever asks counts the call in flight.
int64_t jangtq_answer_message(JangtqStream* stream, const uint8_t* message, int64_t size, int64_t most_rows,
                              double* row_ns);

}  // extern "C"
#pragma GCC visibility pop
