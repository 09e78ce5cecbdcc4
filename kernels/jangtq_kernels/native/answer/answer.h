// The C interface of answering a call: the frame of a call becomes the frame of its answer. Keeps no state.
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

// Why a call is not answered here; such a call is as if it had never been asked.
enum JangtqNoAnswer : int64_t {
    JANGTQ_LEFT_TO_PYTHON = 0,  // something about it is wrong, or only Python can ask its layer
};

// Returns the bytes of the answer that it wrote, or a JangtqNoAnswer. Where the answer needs more than `capacity`,
// nothing was computed, and the bytes that it needs are returned with a minus sign.
// layers: [layer_count], of rows of `hidden` values. into: aligned to 4 bytes. The answer tells of no time in a queue.
int64_t jangtq_answer(const JangtqNativeLayer* layers, int64_t layer_count, int64_t hidden, const uint8_t* frame,
                      int64_t frame_bytes, uint8_t* into, int64_t capacity);

}  // extern "C"
#pragma GCC visibility pop
