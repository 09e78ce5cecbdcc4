#include "exchange/direct.h"

#include <algorithm>

#include "wire/clock.h"

namespace {

void send_parts(const JangtqCallRows& asked, JangtqInboxState* const* inboxes, JangtqEncodedPart* parts,
                const uint8_t* frames, JangtqTurnFacts& facts) {
    facts = {parts[asked.worker_count].row_count == 0, 0, 0, 0};
    for (int64_t worker = 0; worker < asked.worker_count; ++worker) {
        JangtqEncodedPart& part = parts[worker];
        if (part.row_count == 0) continue;
        if (inboxes[worker] == nullptr) {
            ++facts.carried;
            continue;
        }
        part.sent_bytes = jangtq::send_bytes(inboxes[worker]->socket, frames + part.frame_at, part.frame_bytes, true);
        if (part.sent_bytes != part.frame_bytes) facts.is_whole = 0;
    }
}

JangtqTaken receive(JangtqInboxState& inbox, JangtqPartReply& reply) {
    const int64_t received = jangtq_receive_frame(&inbox);
    if (received != JANGTQ_RECEIVED) return received == JANGTQ_SILENT ? JANGTQ_WAITS : JANGTQ_NOT_ORDINARY;
    reply.received_ns = jangtq::now_ns();
    reply.frame = inbox.memory;
    reply.frame_bytes = jangtq::frame_bytes(inbox);
    return JANGTQ_TAKEN;
}

}  // namespace

int64_t jangtq_ask(const JangtqGrids* grids, double factor, const JangtqCallRows* asked, int8_t* exponents,
                   JangtqInboxState* const* inboxes, JangtqEncodedPart* parts, int32_t* row_index, uint8_t* frames,
                   int64_t capacity, JangtqTurnFacts* facts) {
    jangtq_choose_exponents(grids, asked->row_type, asked->rows, asked->row_count, asked->hidden, factor, exponents);
    const int64_t bytes = jangtq_encode(asked, parts, row_index, frames, capacity);
    if (0 <= bytes && bytes <= capacity) send_parts(*asked, inboxes, parts, frames, *facts);
    return bytes;
}

int64_t jangtq_take(const JangtqGrids* grids, const JangtqCallRows* asked, JangtqInboxState* const* inboxes,
                    const JangtqEncodedPart* parts, const int32_t* row_index, JangtqPartReply* replies, float* values,
                    int8_t* finest, JangtqTurnFacts* facts) {
    int64_t count = 0;
    facts->received_ns = 0;
    for (int64_t worker = 0; worker < asked->worker_count; ++worker) {
        const JangtqEncodedPart& part = parts[worker];
        if (part.row_count == 0) continue;
        JangtqPartReply& reply = replies[count++];
        reply.call_id = asked->call_id;
        reply.row_count = part.row_count;
        reply.row_index = part.row_count == asked->row_count ? nullptr : row_index + part.index_at;
        if (inboxes[worker] == nullptr) continue;
        const JangtqTaken taken = receive(*inboxes[worker], reply);
        if (taken != JANGTQ_TAKEN) return taken;
        facts->received_ns = std::max(facts->received_ns, reply.received_ns);
    }
    if (!jangtq_add(replies, count, grids, asked->exponents, asked->row_count, asked->hidden, values, finest,
                    &facts->proof_ns))
        return JANGTQ_NOT_ORDINARY;
    for (int64_t worker = 0; worker < asked->worker_count; ++worker)
        if (parts[worker].row_count != 0 && inboxes[worker] != nullptr) jangtq::drop_frame(*inboxes[worker]);
    return JANGTQ_TAKEN;
}
