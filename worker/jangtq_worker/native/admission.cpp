// See admission.h: what Python does with a admission.
#include "admission.h"

#include <new>

JangtqAdmission* jangtq_open_admission(int64_t layer_count, int64_t hidden_size) {
    return new (std::nothrow) JangtqAdmission(layer_count, hidden_size);
}

void jangtq_close_admission(JangtqAdmission* admission) { delete admission; }

bool jangtq_serve(JangtqAdmission* admission, const JangtqNativeLayer* layers) {
    const std::lock_guard<std::mutex> device(admission->device);
    try {
        admission->layers.assign(layers, layers + admission->layer_count);
    } catch (const std::bad_alloc&) {
        admission->layers.clear();
        return false;
    }
    admission->is_open = true;
    return true;
}

void jangtq_refuse(JangtqAdmission* admission) { admission->is_open = false; }

void jangtq_want(JangtqAdmission* admission) { ++admission->wanted; }

void jangtq_unwant(JangtqAdmission* admission) { --admission->wanted; }

bool jangtq_is_free(const JangtqAdmission* admission) { return admission->computing == 0; }

void jangtq_wait_until_free(JangtqAdmission* admission) { const std::lock_guard<std::mutex> device(admission->device); }

void jangtq_count(const JangtqAdmission* admission, JangtqCounts* counts) {
    *counts = {admission->in_flight, admission->total, admission->computing};
}
