// See answers.h: the checks of jangtq_proto.wire.codec and jangtq_kernels.checks, the forward, and its checksum.
#include <cstring>
#include <new>

#include "checksum.h"
#include "clock.h"
#include "admission.h"
#include "grid.h"
#include "row_values.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "calls are read as they lie in memory");

namespace {

constexpr int64_t kMostSlots = 32;

bool is_between(int64_t least, int64_t value, int64_t most) { return least <= value && value <= most; }

// Arrays as the kernel wants them, from wherever they came; a copy only where they are not so already.
template <typename T>
const T* aligned(const JangtqBytes& bytes, std::vector<T>& memory) {
    if (reinterpret_cast<uintptr_t>(bytes.at) % alignof(T) == 0) return reinterpret_cast<const T*>(bytes.at);
    memory.resize(static_cast<size_t>(bytes.size) / sizeof(T));
    std::memcpy(memory.data(), bytes.at, static_cast<size_t>(bytes.size));
    return memory.data();
}

const float* float32_rows(const JangtqWireCall& call, std::vector<float>& memory) {
    if (call.row_type == jangtq::kFloat32) return aligned(call.rows, memory);
    const int64_t count = call.rows.size / jangtq::row_value_bytes(call.row_type);
    memory.resize(static_cast<size_t>(count));
    jangtq::widen_rows(call.row_type, call.rows.at, count, memory.data());
    return memory.data();
}

// Whether no value has all bits of its exponent set.
template <typename Bits>
bool are_finite(const JangtqBytes& values, Bits exponent) {
    Bits odd = 0;
    for (int64_t at = 0; at < values.size; at += sizeof(Bits)) {
        Bits bits;
        std::memcpy(&bits, values.at + at, sizeof bits);
        odd = static_cast<Bits>(odd | ((bits & exponent) == exponent));
    }
    return odd == 0;
}

bool are_finite(uint32_t row_type, const JangtqBytes& values) {
    if (row_type == jangtq::kFloat32) return are_finite<uint32_t>(values, 0x7f800000u);
    return are_finite<uint16_t>(values, row_type == jangtq::kFloat16 ? 0x7c00u : 0x7f80u);
}

bool are_on_grids(const JangtqBytes& exponents) {
    for (int64_t row = 0; row < exponents.size; ++row)
        if (!is_between(jangtq::kFinest, static_cast<int8_t>(exponents.at[row]), jangtq::kCoarsest)) return false;
    return true;
}

bool has_good_values(const JangtqWireCall& call) {
    return are_finite(call.row_type, call.rows) && are_finite(jangtq::kFloat32, call.router_weights) &&
           are_on_grids(call.exponents);
}

// False where the kernel refuses the call.
bool forward(JangtqAdmission& admission, const JangtqWireCall& call, const JangtqAnswer& answer) {
    const JangtqNativeLayer& layer = admission.layers[call.layer];
    if (layer.forward == nullptr || !has_good_values(call)) return false;
    const JangtqCall asked{float32_rows(call, admission.rows),
                           aligned(call.expert_ids, admission.expert_ids),
                           aligned(call.router_weights, admission.router_weights),
                           reinterpret_cast<const int8_t*>(call.exponents.at),
                           call.row_count,
                           call.slot_count,
                           answer.sums,
                           answer.finest};
    int64_t offender = 0;
    return layer.forward(layer.pool, layer.layer, &asked, &offender) == JANGTQ_OK;
}

// Computes where the device is free, and says how long that took; else negative.
int64_t compute(JangtqAdmission& admission, const JangtqWireCall& call, const JangtqAnswer& answer) {
    const jangtq::Turn turn(admission);
    if (!turn) return -1;
    const int64_t started = jangtq::now_ns();
    try {
        if (!forward(admission, call, answer)) return -1;
    } catch (const std::bad_alloc&) {
        return -1;
    }
    return jangtq::now_ns() - started;
}

}  // namespace

bool jangtq_is_ordinary(const JangtqAdmission* admission, const JangtqWireCall* call) {
    const int64_t rows = call->row_count, picks = rows * call->slot_count;
    const int64_t value_bytes = jangtq::row_value_bytes(call->row_type);
    return call->layer < admission->layer_count && is_between(1, rows, jangtq::kMostRows) &&
           is_between(1, call->slot_count, kMostSlots) && value_bytes > 0 &&
           call->rows.size == rows * admission->hidden_size * value_bytes && call->expert_ids.size == picks * 4 &&
           call->router_weights.size == picks * 4 && call->exponents.size == rows;
}

bool jangtq_answer(JangtqAdmission* admission, const JangtqWireCall* call, JangtqAnswer* answer) {
    const int64_t asked = jangtq::now_ns();
    answer->compute_ns = compute(*admission, *call, *answer);
    if (answer->compute_ns < 0) return false;
    answer->queue_ns = jangtq::now_ns() - asked - answer->compute_ns;
    const auto rows = static_cast<size_t>(call->row_count);
    const size_t sums_bytes = rows * static_cast<size_t>(admission->hidden_size) * sizeof(int32_t);
    answer->checksum =
        jangtq::answer_checksum(call->call_id, answer->sums, sums_bytes, answer->finest, rows);
    return true;
}
