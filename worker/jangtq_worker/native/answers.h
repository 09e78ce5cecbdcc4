// The C interface of answering without the interpreter: a admission that Python and native threads share, and calls as
// they arrived, which are answered here if they are ordinary and nobody has to wait for them.
#pragma once

#include <cstdint>

#include "experts.h"

#pragma GCC visibility push(default)
extern "C" {

// A layer that native code may ask; `forward` is null where only Python can.
struct JangtqNativeLayer {
    int32_t (*forward)(JangtqPool*, const JangtqLayer*, const JangtqCall*, int64_t* offender);
    JangtqPool* pool;
    const JangtqLayer* layer;
};

struct JangtqBytes {
    const uint8_t* at;
    int64_t size;
};

// A call as it arrived, with nothing checked. Members as in jangtq_proto.wire.codec.WireCall, but for `prefill`, which
// is nothing to native layers. The arrays need no alignment.
struct JangtqWireCall {
    uint64_t call_id;
    uint32_t layer;
    uint32_t row_count;
    uint32_t slot_count;
    uint32_t row_type;
    JangtqBytes rows;
    JangtqBytes expert_ids;
    JangtqBytes router_weights;
    JangtqBytes exponents;
};

struct JangtqAnswer {
    int32_t* sums;   // [rows][hidden]
    int8_t* finest;  // [rows]
    int64_t queue_ns;
    int64_t compute_ns;
    uint32_t checksum;
};

// Calls that native code took.
struct JangtqCounts {
    int64_t in_flight;  // of conversations, as is the total: who asks otherwise counts for himself
    int64_t total;
    int64_t computing;
};

struct JangtqAdmission;

// Null when there is no memory. Takes no calls before `jangtq_serve`.
JangtqAdmission* jangtq_open_admission(int64_t layer_count, int64_t hidden_size);
void jangtq_close_admission(JangtqAdmission* admission);

// From now on ask these layers, one for each of the admission's; a forward of layers before has ended when this returns.
// False, and none are asked, when there is no memory.
bool jangtq_serve(JangtqAdmission* admission, const JangtqNativeLayer* layers);

// Take no calls any more.
void jangtq_refuse(JangtqAdmission* admission);

// Python wants the device, or does no more; between the two no call is taken.
void jangtq_want(JangtqAdmission* admission);
void jangtq_unwant(JangtqAdmission* admission);

// Whether nobody computes natively; between want and unwant it stays so once it is.
bool jangtq_is_free(const JangtqAdmission* admission);
void jangtq_wait_until_free(JangtqAdmission* admission);

void jangtq_count(const JangtqAdmission* admission, JangtqCounts* counts);

// Whether the call is short and its fields and sizes are as they must be, so that it is worth to have memory ready
// for its answer.
bool jangtq_is_ordinary(const JangtqAdmission* admission, const JangtqWireCall* call);

// Answers an ordinary call at once. False, and the call is as if it had never been asked, where Python is to answer
// it: somebody else computes or wants to, or something about it is wrong. Whoever asks counts it in flight.
bool jangtq_answer(JangtqAdmission* admission, const JangtqWireCall* call, JangtqAnswer* answer);

// One connection of the express lane, from call to call.
struct JangtqConversation;

// Null when there is no memory. The admission must live longer, and so must `asked_ns`, which always says when a call was
// answered last.
JangtqConversation* jangtq_open_conversation(JangtqAdmission* admission, int64_t* asked_ns);
void jangtq_close_conversation(JangtqConversation* conversation);

// Where a plain blocking socket is read into; what is there begins with a frame.
struct JangtqInbox {
    int64_t fd;
    int64_t poll_ns;  // how long to look again and again before sleeping
    uint8_t* buffer;
    int64_t capacity;
    int64_t filled;
};

// Answers ordinary calls as they come, for as long as there are no others. Returns 0 when what is in the inbox, or
// the end of the connection, is for Python to see, and an errno when the connection broke.
int32_t jangtq_answer_calls(JangtqConversation* conversation, JangtqInbox* inbox);

}  // extern "C"
#pragma GCC visibility pop
