// The frame of one worker's answer: read as far as it comes, and proven to be the answer to this call.
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
inline ssize_t receive(const JangtqWorker& worker, void* into, size_t bytes) {
    const int fd = static_cast<int>(worker.fd);
    if (worker.poll_ns > 0) {
        const int64_t end = now_ns() + worker.poll_ns;
        do {
            const ssize_t count = recv(fd, into, bytes, MSG_DONTWAIT);
            if (count >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK)) return count;
            sched_yield();
        } while (now_ns() <= end);
    }
    return recv(fd, into, bytes, 0);
}

// One worker's answer, as far as it was read.
struct AnswerFrame {
    AnswerFrame(const JangtqExchange& exchange, int64_t worker)
        : part(exchange.parts[worker]),
          bytes(jangtq_answer_bytes(part.rows, exchange.hidden)),
          start(exchange.answers + worker * exchange.answer_stride),
          sums(start + sizeof(AnswerHead)),
          finest(reinterpret_cast<const int8_t*>(sums + part.rows * exchange.hidden * 4)) {}

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
    const int8_t* const finest;
};

// False where the answer does not come whole or in time, or begins as none to this call does.
inline bool read_answer(const JangtqWorker& worker, AnswerFrame& frame, uint64_t call_id, int64_t end_ns) {
    int64_t& filled = frame.part.read_bytes;
    while (filled < frame.bytes) {
        const ssize_t count = receive(worker, frame.start + filled, static_cast<size_t>(frame.bytes - filled));
        if (count <= 0) return false;
        filled += count;
        if (!frame.is_like_answer(call_id) || (filled < frame.bytes && now_ns() > end_ns)) return false;
    }
    frame.part.read_ns = now_ns();
    return true;
}

// What an answer holds, wherever it lies.
struct Answer {
    JangtqReply arrays;
    uint64_t queue_ns, compute_ns;
    uint32_t checksum;
};

inline Answer answer_of(const AnswerFrame& frame) {
    const AnswerHead head = frame.head();
    return {{frame.sums, frame.finest}, head.queue_ns, head.compute_ns, head.checksum};
}

// False where the checksum is wrong; where it is right, the part tells what the answer took.
inline bool prove(const Answer& answer, JangtqPart& part, int64_t hidden, uint64_t call_id) {
    const auto rows = static_cast<size_t>(part.rows), sums_bytes = rows * static_cast<size_t>(hidden) * 4;
    if (answer_checksum(call_id, answer.arrays.sums, sums_bytes, answer.arrays.finest, rows) != answer.checksum)
        return false;
    // Times that fit no int64 are left to who reads any.
    if (answer.queue_ns > INT64_MAX || answer.compute_ns > INT64_MAX) return false;
    part.queue_ns = static_cast<int64_t>(answer.queue_ns);
    part.compute_ns = static_cast<int64_t>(answer.compute_ns);
    part.decode_ns = now_ns() - part.read_ns;
    part.is_whole = 1;
    return true;
}

// False where the message is no answer of this size to this call.
inline bool read_answer(Bytes message, JangtqPart& part, int64_t hidden, uint64_t call_id, Answer& answer) {
    ReplyMessage reply;
    const auto rows = static_cast<size_t>(part.rows);
    if (!read_reply(message, reply) || reply.call_id != call_id || reply.finest.size != rows ||
        reply.partial_sums.size != rows * static_cast<size_t>(hidden) * 4)
        return false;
    const auto* finest = reinterpret_cast<const int8_t*>(reply.finest.start);
    answer = {{reply.partial_sums.start, finest}, reply.queue_ns, reply.compute_ns, reply.checksum};
    part.read_ns = now_ns();
    return true;
}

}  // namespace jangtq
