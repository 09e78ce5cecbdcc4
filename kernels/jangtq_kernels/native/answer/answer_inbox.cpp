#include "answer/answer_inbox.h"

int64_t jangtq_answer_inbox(const JangtqNativeLayer* layers, int64_t layer_count, int64_t hidden,
                            JangtqInboxState* inbox, uint8_t* into, int64_t capacity, int64_t* sent) {
    *sent = 0;
    const int64_t bytes =
        jangtq_answer(layers, layer_count, hidden, inbox->memory, jangtq::frame_bytes(*inbox), into, capacity);
    if (bytes <= 0) return bytes;
    *sent = jangtq::send_bytes(inbox->socket, into, bytes, false);
    jangtq::drop_frame(*inbox);
    return bytes;
}
