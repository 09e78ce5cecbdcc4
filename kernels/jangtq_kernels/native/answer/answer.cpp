// See answer.h: the checks of jangtq_proto.wire.codec and jangtq_kernels.checks, the forward, and its checksum.
#include "answer/answer.h"

#include <cstring>
#include <new>
#include <vector>

#include "grid.h"
#include "wire/checksum.h"
#include "wire/clock.h"
#include "wire/frame_heads.h"
#include "wire/row_values.h"

namespace {

using jangtq::AnswerHead;
using jangtq::CallHead;
using jangtq::kLengthBytes;

constexpr int64_t kMostRows = 4096, kMostSlots = 32;

bool is_between(int64_t least, int64_t value, int64_t most) { return least <= value && value <= most; }

// A call with its arrays, which need no alignment.
struct WireCall {
    CallHead head;
    const uint8_t* weights;
    const uint8_t* ids;
    const uint8_t* rows;
    const uint8_t* exponents;
};

// False where the frame is no call as it must be; its values are not looked at.
bool read(const uint8_t* frame, int64_t bytes, int64_t layer_count, int64_t hidden, WireCall& call) {
    CallHead& head = call.head;
    if (bytes < static_cast<int64_t>(sizeof head)) return false;
    std::memcpy(&head, frame, sizeof head);
    call.weights = frame + sizeof head;
    call.ids = call.weights + head.weights_bytes;
    call.rows = call.ids + head.ids_bytes;
    call.exponents = call.rows + head.rows_bytes;
    const int64_t rows = head.row_count, picks = rows * head.slot_count;
    const int64_t value_bytes = jangtq::row_value_bytes(head.row_type);
    const int64_t arrays = int64_t{head.weights_bytes} + head.ids_bytes + head.rows_bytes + head.exponents_bytes;
    return head.length + int64_t{kLengthBytes} == bytes && static_cast<int64_t>(sizeof head) + arrays == bytes &&
           head.layer < layer_count && is_between(1, rows, kMostRows) && is_between(1, head.slot_count, kMostSlots) &&
           value_bytes > 0 && head.rows_bytes == rows * hidden * value_bytes && head.ids_bytes == picks * 4 &&
           head.weights_bytes == picks * 4 && head.exponents_bytes == rows;
}

// Whether no value has all bits of its exponent set.
template <typename Bits>
bool are_finite(const uint8_t* values, int64_t bytes, Bits exponent) {
    Bits odd = 0;
    for (int64_t at = 0; at < bytes; at += sizeof(Bits)) {
        Bits bits;
        std::memcpy(&bits, values + at, sizeof bits);
        odd = static_cast<Bits>(odd | ((bits & exponent) == exponent));
    }
    return odd == 0;
}

bool are_finite(uint32_t row_type, const uint8_t* values, int64_t bytes) {
    if (row_type == jangtq::kFloat32) return are_finite<uint32_t>(values, bytes, 0x7f800000u);
    return are_finite<uint16_t>(values, bytes, row_type == jangtq::kFloat16 ? 0x7c00u : 0x7f80u);
}

bool are_on_grids(const uint8_t* exponents, int64_t rows) {
    for (int64_t row = 0; row < rows; ++row)
        if (!is_between(jangtq::kFinest, static_cast<int8_t>(exponents[row]), jangtq::kCoarsest)) return false;
    return true;
}

bool has_good_values(const WireCall& call) {
    const CallHead& head = call.head;
    return are_finite(head.row_type, call.rows, head.rows_bytes) &&
           are_finite(jangtq::kFloat32, call.weights, head.weights_bytes) &&
           are_on_grids(call.exponents, head.row_count);
}

// Arrays as the kernel wants them; a copy only where they are not so already.
template <typename T>
const T* aligned(const uint8_t* at, int64_t bytes, std::vector<T>& memory) {
    if (reinterpret_cast<uintptr_t>(at) % alignof(T) == 0) return reinterpret_cast<const T*>(at);
    memory.resize(static_cast<size_t>(bytes) / sizeof(T));
    std::memcpy(memory.data(), at, static_cast<size_t>(bytes));
    return memory.data();
}

const float* float32_rows(const WireCall& call, std::vector<float>& memory) {
    const uint32_t type = call.head.row_type;
    if (type == jangtq::kFloat32) return aligned(call.rows, call.head.rows_bytes, memory);
    const int64_t count = call.head.rows_bytes / jangtq::row_value_bytes(type);
    memory.resize(static_cast<size_t>(count));
    jangtq::widen_rows(type, call.rows, count, memory.data());
    return memory.data();
}

// False where the kernel refuses the call.
bool forward(const JangtqNativeLayer& layer, const WireCall& call, int32_t* sums, int8_t* finest) {
    if (layer.forward == nullptr || !has_good_values(call)) return false;
    std::vector<float> rows, weights;
    std::vector<int32_t> ids;
    const JangtqCall asked{float32_rows(call, rows),
                           aligned(call.ids, call.head.ids_bytes, ids),
                           aligned(call.weights, call.head.weights_bytes, weights),
                           reinterpret_cast<const int8_t*>(call.exponents),
                           call.head.row_count,
                           call.head.slot_count,
                           sums,
                           finest};
    int64_t offender = 0;
    return layer.forward(layer.pool, layer.layer, &asked, &offender) == JANGTQ_OK;
}

}  // namespace

int64_t jangtq_answer(const JangtqNativeLayer* layers, int64_t layer_count, int64_t hidden, const uint8_t* frame,
                      int64_t frame_bytes, uint8_t* into, int64_t capacity) {
    WireCall call;
    if (!read(frame, frame_bytes, layer_count, hidden, call)) return JANGTQ_LEFT_TO_PYTHON;
    const int64_t rows = call.head.row_count, sums_bytes = rows * hidden * 4;
    const int64_t bytes = static_cast<int64_t>(sizeof(AnswerHead)) + sums_bytes + rows;
    if (bytes > capacity) return -bytes;
    uint8_t* const sums = into + sizeof(AnswerHead);
    uint8_t* const finest = sums + sums_bytes;
    const int64_t started = jangtq::now_ns();
    try {
        if (!forward(layers[call.head.layer], call, reinterpret_cast<int32_t*>(sums),
                     reinterpret_cast<int8_t*>(finest)))
            return JANGTQ_LEFT_TO_PYTHON;
    } catch (const std::bad_alloc&) {
        return JANGTQ_LEFT_TO_PYTHON;
    }
    const auto compute_ns = static_cast<uint64_t>(jangtq::now_ns() - started);
    const AnswerHead head{static_cast<uint32_t>(bytes) - kLengthBytes,
                          0,
                          call.head.call_id,
                          0,
                          compute_ns,
                          jangtq::answer_checksum(call.head.call_id, sums, static_cast<size_t>(sums_bytes), finest,
                                                  static_cast<size_t>(rows))};
    std::memcpy(into, &head, sizeof head);
    return bytes;
}
