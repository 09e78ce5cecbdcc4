// See messages.h: reads a call, has it answered at the admission, and writes the answer.
#include "messages.h"

#include <memory>
#include <new>

#include "clock.h"
#include "admission.h"
#include "expert_messages.h"

struct JangtqStream {
    JangtqStream(JangtqAdmission& at, uint8_t* into, int64_t* asked)
        : admission(at),
          reply(into),
          asked_ns(asked),
          sums(new int32_t[static_cast<size_t>(jangtq::kMostRows * at.hidden_size)]),
          finest(new int8_t[static_cast<size_t>(jangtq::kMostRows)]) {}
    JangtqAdmission& admission;
    uint8_t* const reply;
    int64_t* const asked_ns;
    const std::unique_ptr<int32_t[]> sums;
    const std::unique_ptr<int8_t[]> finest;
};

namespace {

JangtqBytes plain(const jangtq::Bytes& bytes) { return {bytes.start, static_cast<int64_t>(bytes.size)}; }

bool read(const jangtq::Bytes& message, JangtqWireCall& wire) {
    jangtq::CallMessage call;
    if (!jangtq::read_call(message, call)) return false;
    wire = {call.call_id,
            call.layer,
            call.row_count,
            call.slot_count,
            call.row_type,
            plain(call.rows),
            plain(call.expert_ids),
            plain(call.router_weights),
            plain(call.exponents)};
    return true;
}

size_t write(const JangtqWireCall& call, const JangtqAnswer& answer, const JangtqStream& stream) {
    const auto rows = static_cast<size_t>(call.row_count);
    const size_t sums_bytes = rows * static_cast<size_t>(stream.admission.hidden_size) * sizeof(int32_t);
    const jangtq::ReplyMessage reply{call.call_id,
                                     static_cast<uint64_t>(answer.queue_ns),
                                     static_cast<uint64_t>(answer.compute_ns),
                                     {reinterpret_cast<const uint8_t*>(answer.sums), sums_bytes},
                                     {reinterpret_cast<const uint8_t*>(answer.finest), rows},
                                     answer.checksum};
    return jangtq::write_reply(reply, stream.reply);
}

}  // namespace

JangtqStream* jangtq_open_stream(JangtqAdmission* admission, uint8_t* reply, int64_t* asked_ns) {
    try {
        return new JangtqStream(*admission, reply, asked_ns);
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
}

void jangtq_close_stream(JangtqStream* stream) { delete stream; }

int64_t jangtq_most_reply_bytes(const JangtqAdmission* admission) {
    return static_cast<int64_t>(jangtq::most_reply_bytes(jangtq::kMostRows, admission->hidden_size));
}

int64_t jangtq_answer_message(JangtqStream* stream, const uint8_t* message, int64_t size, int64_t most_rows,
                              double* row_ns) {
    JangtqAdmission& admission = stream->admission;
    JangtqWireCall call;
    if (!read({message, static_cast<size_t>(size)}, call) || !jangtq_is_ordinary(&admission, &call))
        return JANGTQ_LEFT_TO_PYTHON;
    if (call.row_count > most_rows) return JANGTQ_TOO_LONG;
    JangtqAnswer answer{stream->sums.get(), stream->finest.get(), 0, 0, 0};
    if (!jangtq_answer(&admission, &call, &answer)) return JANGTQ_LEFT_TO_PYTHON;
    __atomic_store_n(stream->asked_ns, jangtq::now_ns(), __ATOMIC_RELAXED);
    *row_ns = static_cast<double>(answer.compute_ns) / call.row_count;
    return static_cast<int64_t>(write(call, answer, *stream));
}
