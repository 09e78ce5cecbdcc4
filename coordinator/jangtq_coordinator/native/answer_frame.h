// The frame of one holder's answer: read as far as it comes, and proven to be the answer to this call.
#pragma once

#include <sched.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "call_frame.h"
#include "checksum.h"
#include "exchange.h"
#include "clock.h"
#include "frame_heads.h"

namespace jangtq {

// Bytes received; 0 or less where there is nothing to be had now, for whatever reason.
inline ssize_t receive(const JangtqHolder& holder, void* into, size_t bytes) {
    const int fd = static_cast<int>(holder.fd);
    if (holder.poll_ns > 0) {
        const int64_t end = now_ns() + holder.poll_ns;
        do {
            const ssize_t count = recv(fd, into, bytes, MSG_DONTWAIT);
            if (count >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK)) return count;
            sched_yield();
        } while (now_ns() <= end);
    }
    return recv(fd, into, bytes, 0);
}

// One holder's answer, as far as it was read.
struct AnswerFrame {
    AnswerFrame(const JangtqExchange& exchange, int64_t holder)
        : part(exchange.parts[holder]),
          bytes(jangtq_answer_bytes(part.rows, exchange.hidden)),
          start(exchange.answers + holder * exchange.answer_stride),
          sums(start + sizeof(AnswerHead)),
          sums_bytes(static_cast<size_t>(part.rows * exchange.hidden * 4)),
          finest(reinterpret_cast<const int8_t*>(sums + sums_bytes)) {}

    AnswerHead head() const {
        AnswerHead head;
        std::memcpy(&head, start, sizeof head);
        return head;
    }

    // Whether what is there may be the answer to this call.
    bool is_like_answer(uint64_t call_id) const {
        if (part.read_bytes < static_cast<int64_t>(sizeof(AnswerHead))) return true;
        const AnswerHead found = head();
        return found.length == bytes - kLengthBytes && found.status == 0 && found.call_id == call_id;
    }

    JangtqPart& part;
    const int64_t bytes;
    uint8_t* const start;
    const uint8_t* const sums;
    const size_t sums_bytes;
    const int8_t* const finest;
};

// False where the answer does not come whole or in time, or begins as none to this call does.
inline bool read_answer(const JangtqHolder& holder, AnswerFrame& frame, uint64_t call_id, int64_t end_ns) {
    int64_t& filled = frame.part.read_bytes;
    while (filled < frame.bytes) {
        const ssize_t count = receive(holder, frame.start + filled, static_cast<size_t>(frame.bytes - filled));
        if (count <= 0) return false;
        filled += count;
        if (!frame.is_like_answer(call_id) || (filled < frame.bytes && now_ns() > end_ns)) return false;
    }
    frame.part.read_ns = now_ns();
    return true;
}

// Copies what a message answers into the frame; false where it is none to this call.
inline bool read_answer(Bytes message, AnswerFrame& frame, uint64_t call_id) {
    ReplyMessage reply;
    const auto rows = static_cast<size_t>(frame.part.rows);
    if (!read_reply(message, reply) || reply.call_id != call_id || reply.partial_sums.size != frame.sums_bytes ||
        reply.finest.size != rows)
        return false;
    const AnswerHead head{static_cast<uint32_t>(frame.bytes) - kLengthBytes, 0, call_id, reply.queue_ns,
                          reply.compute_ns, reply.checksum};
    std::memcpy(frame.start, &head, sizeof head);
    std::memcpy(frame.start + sizeof head, reply.partial_sums.start, frame.sums_bytes);
    std::memcpy(frame.start + sizeof head + frame.sums_bytes, reply.finest.start, rows);
    frame.part.read_bytes = frame.bytes;
    frame.part.read_ns = now_ns();
    return true;
}

// False where the checksum is wrong.
inline bool check_answer(AnswerFrame& frame, uint64_t call_id) {
    const AnswerHead head = frame.head();
    const auto rows = static_cast<size_t>(frame.part.rows);
    if (answer_checksum(call_id, frame.sums, frame.sums_bytes, frame.finest, rows) != head.checksum)
        return false;
    // Times that fit no int64 are left to who reads any.
    if (head.queue_ns > INT64_MAX || head.compute_ns > INT64_MAX) return false;
    frame.part.queue_ns = static_cast<int64_t>(head.queue_ns);
    frame.part.compute_ns = static_cast<int64_t>(head.compute_ns);
    frame.part.decode_ns = now_ns() - frame.part.read_ns;
    frame.part.is_whole = 1;
    return true;
}

}  // namespace jangtq
