// The frame of a call to one worker: which rows and slots it is asked for, and the one send that never waits.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>

#ifdef __APPLE__
#include <fcntl.h>
#endif

#include "clock.h"
#include "exchange.h"
#include "expert_messages.h"
#include "frame_heads.h"
#include "row_values.h"

namespace jangtq {

constexpr int32_t kNoExpert = -1;
// After head, weights and ids.
constexpr int64_t kFirstRowPiece = 3;

struct Batch {
    const uint8_t* values;
    const int32_t* expert_ids;
    const float* router_weights;
    int64_t layer, rows, slots, prefill;
    uint64_t call_id;
};

// Where MSG_DONTWAIT is not heeded by sends, the socket itself must not wait.
inline ssize_t send_now(int fd, const msghdr& message) {
#ifdef __APPLE__
    const int flags = fcntl(fd, F_GETFL);
    fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    const ssize_t sent = sendmsg(fd, &message, 0);
    const int error = errno;
    fcntl(fd, F_SETFL, flags);
    errno = error;
    return sent;
#else
    return sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
#endif
}

// One worker's frame as pieces to be sent together; rows are not copied.
class CallFrame {
   public:
    CallFrame(const JangtqExchange& exchange, const Batch& batch, int32_t worker)
        : exchange_(exchange), batch_(batch), worker_(worker), part_(exchange.parts[worker]) {
        const int32_t* index = exchange.row_index + worker * kJangtqMostRows;
        slots_ = batch.rows == 1 ? part_.picks : batch.slots;
        for (int64_t i = 0; i < part_.rows; ++i) copy_slots(index[i]);
        const uint32_t slot_bytes = static_cast<uint32_t>(count_ * 4), rows = static_cast<uint32_t>(part_.rows);
        const auto row_type = static_cast<uint32_t>(exchange.row_type);
        const auto row_bytes = static_cast<uint32_t>(exchange.hidden * row_value_bytes(row_type));
        head_ = {0, static_cast<uint32_t>(batch.layer), batch.call_id, rows, static_cast<uint32_t>(slots_),
                 row_type, static_cast<uint32_t>(batch.prefill), slot_bytes, slot_bytes, rows * row_bytes, rows};
        head_.length = static_cast<uint32_t>(sizeof head_) - kLengthBytes + 2 * slot_bytes + rows * row_bytes + rows;
        add(&head_, sizeof head_);
        add(weights_, slot_bytes);
        add(ids_, slot_bytes);
        for (int64_t i = 0; i < part_.rows; ++i) add_row(index[i], row_bytes);
        add(exponents_, rows);
    }

    void send() {
        msghdr message{};
        message.msg_iov = pieces_;
        message.msg_iovlen = static_cast<decltype(message.msg_iovlen)>(piece_count_);
        const ssize_t sent = send_now(static_cast<int>(exchange_.workers[worker_].fd), message);
        const bool waits = sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
        part_.frame_bytes = head_.length + kLengthBytes;
        part_.sent_bytes = std::max<ssize_t>(sent, 0);
        part_.sent_errno = sent < 0 && !waits ? errno : 0;
        part_.sent_ns = now_ns();
    }

    // The same call as an ExpertCall, for whoever sends it.
    void write_message() {
        MessageWriter writer(exchange_.messages + worker_ * exchange_.message_stride);
        writer.write_number(0x08, batch_.call_id);
        writer.write_number(0x10, head_.layer);
        writer.write_number(0x18, head_.row_count);
        writer.write_number(0x20, head_.slot_count);
        writer.write_number(0x28, head_.row_type);
        writer.begin_bytes(0x32, head_.rows_bytes);
        for (int64_t i = kFirstRowPiece; i < piece_count_ - 1; ++i) writer.append(bytes_of(pieces_[i]));
        writer.write_bytes(0x3A, bytes_of(pieces_[2]));
        writer.write_bytes(0x42, bytes_of(pieces_[1]));
        writer.write_bytes(0x4A, bytes_of(pieces_[piece_count_ - 1]));
        writer.write_number(0x50, head_.prefill);
        part_.frame_bytes = part_.sent_bytes = static_cast<int64_t>(writer.size());
        part_.sent_ns = now_ns();
    }

    // Counted when the frame is on its way; leaves the frame's ids out of order.
    void count_distinct() {
        std::sort(ids_, ids_ + count_);
        part_.distinct = std::unique(ids_, ids_ + count_) - ids_ - (ids_[0] == kNoExpert ? 1 : 0);
    }

    bool is_sent() const { return part_.sent_bytes == part_.frame_bytes; }

   private:
    static Bytes bytes_of(const iovec& piece) { return {static_cast<const uint8_t*>(piece.iov_base), piece.iov_len}; }

    // Of a single row only the worker's own slots travel, of several all of them, as Router splits them.
    void copy_slots(int32_t row) {
        exponents_[exponent_count_++] = exchange_.exponents[row];
        for (int64_t slot = 0; slot < batch_.slots; ++slot) {
            const int32_t expert = batch_.expert_ids[row * batch_.slots + slot];
            const bool mine = expert != kNoExpert && exchange_.owners[expert] == worker_;
            if (!mine && batch_.rows == 1) continue;
            ids_[count_] = mine ? expert : kNoExpert;
            weights_[count_++] = batch_.router_weights[row * batch_.slots + slot];
        }
    }

    void add_row(int32_t row, size_t row_bytes) {
        const auto* at = batch_.values + row * static_cast<int64_t>(row_bytes);
        iovec& last = pieces_[piece_count_ - 1];
        if (static_cast<const uint8_t*>(last.iov_base) + last.iov_len == at)
            last.iov_len += row_bytes;
        else
            add(at, row_bytes);
    }

    void add(const void* at, size_t bytes) { pieces_[piece_count_++] = {const_cast<void*>(at), bytes}; }

    const JangtqExchange& exchange_;
    const Batch& batch_;
    const int32_t worker_;
    JangtqPart& part_;
    int64_t slots_ = 0, count_ = 0, exponent_count_ = 0;
    CallHead head_{};
    float weights_[kJangtqMostRows * kJangtqMostSlots];
    int32_t ids_[kJangtqMostRows * kJangtqMostSlots];
    int8_t exponents_[kJangtqMostRows];
    iovec pieces_[kJangtqMostRows + 4];
    int64_t piece_count_ = 0;
};

}  // namespace jangtq
