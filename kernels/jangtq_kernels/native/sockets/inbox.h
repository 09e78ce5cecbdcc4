// Frames of plain sockets, received into memory that Python owns. Nothing here keeps state.
#pragma once

#include <cstdint>

#pragma GCC visibility push(default)
extern "C" {

// What was read from a connection and not taken yet. The socket blocks, as long as its own time-out allows.
struct JangtqInboxState {
    int64_t socket;
    uint8_t* memory;  // [capacity]
    int64_t capacity;
    int64_t filled;
    int64_t poll_ns;  // how long to look again and again before the thread sleeps
};

// Why no whole frame is there. What was read stays in the inbox, so that Python can go on with it.
enum JangtqReceived : int64_t {
    JANGTQ_RECEIVED = 0,
    JANGTQ_SILENT = 1,    // the socket's time-out passed
    JANGTQ_ENDED = 2,     // closed or broken
    JANGTQ_TOO_LARGE = 3  // of more bytes than the inbox holds
};

// Waits until the inbox begins with a whole frame.
int64_t jangtq_receive_frame(JangtqInboxState* inbox);

}  // extern "C"
#pragma GCC visibility pop

namespace jangtq {

// Bytes of the whole frame with which the inbox begins.
int64_t frame_bytes(const JangtqInboxState& inbox);

void drop_frame(JangtqInboxState& inbox);

// Bytes that the socket took of these. Without `waits`, it may be fewer; less than all of them is else an error.
int64_t send_bytes(int64_t socket, const uint8_t* bytes, int64_t count, bool waits);

}  // namespace jangtq
