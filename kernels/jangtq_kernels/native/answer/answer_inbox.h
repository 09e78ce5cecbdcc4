// A call answered from socket to socket.
#pragma once

#include "answer/answer.h"
#include "sockets/inbox.h"

#pragma GCC visibility push(default)
extern "C" {

// Answers the call with which the inbox begins, as jangtq_answer does, and sends as much of the answer as the socket
// takes without a wait; `sent` counts these bytes. The call leaves the inbox only where it was answered.
int64_t jangtq_answer_inbox(const JangtqNativeLayer* layers, int64_t layer_count, int64_t hidden,
                            JangtqInboxState* inbox, uint8_t* into, int64_t capacity, int64_t* sent);

}  // extern "C"
#pragma GCC visibility pop
