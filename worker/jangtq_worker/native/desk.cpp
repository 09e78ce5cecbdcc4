// See desk.h: what Python does with a desk.
#include "desk.h"

#include <new>

JangtqDesk* jangtq_open_desk(int64_t layer_count, int64_t hidden_size) {
    return new (std::nothrow) JangtqDesk(layer_count, hidden_size);
}

void jangtq_close_desk(JangtqDesk* desk) { delete desk; }

bool jangtq_serve(JangtqDesk* desk, const JangtqNativeLayer* layers) {
    const std::lock_guard<std::mutex> device(desk->device);
    try {
        desk->layers.assign(layers, layers + desk->layer_count);
    } catch (const std::bad_alloc&) {
        desk->layers.clear();
        return false;
    }
    desk->is_open = true;
    return true;
}

void jangtq_refuse(JangtqDesk* desk) { desk->is_open = false; }

void jangtq_want(JangtqDesk* desk) { ++desk->wanted; }

void jangtq_unwant(JangtqDesk* desk) { --desk->wanted; }

bool jangtq_is_free(const JangtqDesk* desk) { return desk->computing == 0; }

void jangtq_wait_until_free(JangtqDesk* desk) { const std::lock_guard<std::mutex> device(desk->device); }

void jangtq_count(const JangtqDesk* desk, JangtqCounts* counts) {
    *counts = {desk->in_flight, desk->total, desk->computing};
}
