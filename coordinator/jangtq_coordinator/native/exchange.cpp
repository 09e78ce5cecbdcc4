#include "exchange.h"

#include <sched.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>

#ifdef __APPLE__
#include <fcntl.h>
#endif

#include "checksum.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "frames are copied as they lie in memory");

namespace {

constexpr uint32_t kLengthBytes = 4;
constexpr uint32_t kFloat32Rows = 1;
constexpr int32_t kNoExpert = -1;

// How frames begin, as in jangtq_proto.frames.
#pragma pack(push, 1)
struct CallHead {
    uint32_t length, layer;
    uint64_t call_id;
    uint32_t row_count, slot_count, row_type, prefill, weights_bytes, ids_bytes, rows_bytes, exponents_bytes;
};
struct AnswerHead {
    uint32_t length, status;
    uint64_t call_id, queue_ns, compute_ns;
    uint32_t checksum;
};
#pragma pack(pop)
static_assert(sizeof(CallHead) == 48 && sizeof(AnswerHead) == 36, "as struct.Struct packs them");

struct Batch {
    int64_t layer, rows, slots, prefill;
    uint64_t call_id;
};

int64_t now_ns() {
#ifdef __APPLE__
    return static_cast<int64_t>(clock_gettime_nsec_np(CLOCK_UPTIME_RAW));
#else
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * int64_t{1'000'000'000} + now.tv_nsec;
#endif
}

// Where MSG_DONTWAIT is not heeded by sends, the socket itself must not wait.
ssize_t send_now(int fd, const msghdr& message) {
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

// One holder's frame as pieces to be sent together; rows are not copied.
class CallFrame {
   public:
    CallFrame(const JangtqExchange& exchange, const Batch& batch, int32_t holder)
        : exchange_(exchange), batch_(batch), holder_(holder), part_(exchange.parts[holder]) {
        const int32_t* index = exchange.row_index + holder * kJangtqMostRows;
        slots_ = batch.rows == 1 ? part_.picks : batch.slots;
        for (int64_t i = 0; i < part_.rows; ++i) copy_slots(index[i]);
        const uint32_t slot_bytes = static_cast<uint32_t>(count_ * 4), rows = static_cast<uint32_t>(part_.rows);
        const uint32_t row_bytes = static_cast<uint32_t>(exchange.hidden * 4);
        head_ = {0, static_cast<uint32_t>(batch.layer), batch.call_id, rows, static_cast<uint32_t>(slots_),
                 kFloat32Rows, static_cast<uint32_t>(batch.prefill), slot_bytes, slot_bytes, rows * row_bytes, rows};
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
        const ssize_t sent = send_now(static_cast<int>(exchange_.holders[holder_].fd), message);
        const bool waits = sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
        part_.frame_bytes = head_.length + kLengthBytes;
        part_.sent_bytes = std::max<ssize_t>(sent, 0);
        part_.sent_errno = sent < 0 && !waits ? errno : 0;
        part_.sent_ns = now_ns();
    }

    // Counted when the frame is on its way; leaves the frame's ids out of order.
    void count_distinct() {
        std::sort(ids_, ids_ + count_);
        part_.distinct = std::unique(ids_, ids_ + count_) - ids_ - (ids_[0] == kNoExpert ? 1 : 0);
    }

    bool is_sent() const { return part_.sent_bytes == part_.frame_bytes; }

   private:
    // Of a single row only the holder's own slots travel, of several all of them, as Router splits them.
    void copy_slots(int32_t row) {
        exponents_[exponent_count_++] = exchange_.exponents[row];
        for (int64_t slot = 0; slot < batch_.slots; ++slot) {
            const int32_t expert = exchange_.expert_ids[row * batch_.slots + slot];
            const bool mine = expert != kNoExpert && exchange_.owners[expert] == holder_;
            if (!mine && batch_.rows == 1) continue;
            ids_[count_] = mine ? expert : kNoExpert;
            weights_[count_++] = exchange_.router_weights[row * batch_.slots + slot];
        }
    }

    void add_row(int32_t row, size_t row_bytes) {
        const auto* at = reinterpret_cast<const uint8_t*>(exchange_.rows + row * exchange_.hidden);
        iovec& last = pieces_[piece_count_ - 1];
        if (static_cast<const uint8_t*>(last.iov_base) + last.iov_len == at)
            last.iov_len += row_bytes;
        else
            add(at, row_bytes);
    }

    void add(const void* at, size_t bytes) { pieces_[piece_count_++] = {const_cast<void*>(at), bytes}; }

    const JangtqExchange& exchange_;
    const Batch& batch_;
    const int32_t holder_;
    JangtqPart& part_;
    int64_t slots_ = 0, count_ = 0, exponent_count_ = 0;
    CallHead head_{};
    float weights_[kJangtqMostRows * kJangtqMostSlots];
    int32_t ids_[kJangtqMostRows * kJangtqMostSlots];
    int8_t exponents_[kJangtqMostRows];
    iovec pieces_[kJangtqMostRows + 4];
    int64_t piece_count_ = 0;
};

// Counts the picks and lists the rows of each holder; false where somebody cannot be asked from here.
bool split(const JangtqExchange& exchange, const Batch& batch) {
    std::memset(exchange.parts, 0, sizeof(JangtqPart) * static_cast<size_t>(exchange.holder_count));
    for (int64_t row = 0; row < batch.rows; ++row) {
        for (int64_t slot = 0; slot < batch.slots; ++slot) {
            const int32_t expert = exchange.expert_ids[row * batch.slots + slot];
            if (expert == kNoExpert) continue;
            if (expert < 0 || expert >= exchange.expert_count) return false;
            const int32_t holder = exchange.owners[expert];
            if (holder < 0 || exchange.holders[holder].fd < 0) return false;
            JangtqPart& part = exchange.parts[holder];
            int32_t* index = exchange.row_index + holder * kJangtqMostRows;
            if (part.rows == 0 || index[part.rows - 1] != row) index[part.rows++] = static_cast<int32_t>(row);
            ++part.picks;
        }
    }
    return true;
}

// Bytes received; 0 or less where there is nothing to be had now, for whatever reason.
ssize_t receive(const JangtqHolder& holder, void* into, size_t bytes) {
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
bool read_answer(const JangtqHolder& holder, AnswerFrame& frame, uint64_t call_id, int64_t end_ns) {
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

// False where the checksum is wrong.
bool check_answer(AnswerFrame& frame, uint64_t call_id) {
    const AnswerHead head = frame.head();
    const auto rows = static_cast<size_t>(frame.part.rows);
    if (jangtq::answer_checksum(call_id, frame.sums, frame.sums_bytes, frame.finest, rows) != head.checksum)
        return false;
    // Times that fit no int64 are left to who reads any.
    if (head.queue_ns > INT64_MAX || head.compute_ns > INT64_MAX) return false;
    frame.part.queue_ns = static_cast<int64_t>(head.queue_ns);
    frame.part.compute_ns = static_cast<int64_t>(head.compute_ns);
    frame.part.decode_ns = now_ns() - frame.part.read_ns;
    frame.part.is_whole = 1;
    return true;
}

// Adds an answer to the sums of its rows, and to the finest exponents of all answers.
void add(const JangtqExchange& exchange, int64_t holder, const AnswerFrame& answer, int8_t* finest) {
    for (int64_t i = 0; i < answer.part.rows; ++i) {
        const int32_t row = exchange.row_index[holder * kJangtqMostRows + i];
        int32_t* units = exchange.units + row * exchange.hidden;
        const auto* sums = reinterpret_cast<const int32_t*>(answer.sums) + i * exchange.hidden;
        // Wraps around, as NumPy does: nobody promises that sums off a row's grid fit.
        for (int64_t j = 0; j < exchange.hidden; ++j)
            units[j] = static_cast<int32_t>(static_cast<uint32_t>(units[j]) + static_cast<uint32_t>(sums[j]));
        finest[row] = std::max(finest[row], answer.finest[i]);
    }
}

void summarise(JangtqSummary& summary, int64_t holder, const JangtqPart& part) {
    summary.decode_ns += part.decode_ns;
    summary.read_ns = part.read_ns;
    if (summary.slowest >= 0 && part.queue_ns + part.compute_ns <= summary.queue_ns + summary.compute_ns) return;
    summary.slowest = holder;
    summary.queue_ns = part.queue_ns;
    summary.compute_ns = part.compute_ns;
}

bool suits(const JangtqExchange& exchange, int64_t row_count, const int8_t* finest) {
    for (int64_t row = 0; row < row_count; ++row) {
        const int64_t coarser = int64_t{exchange.exponents[row]} - finest[row];
        if (coarser < 0 || coarser > exchange.grids->slack_bits) return false;
    }
    return true;
}

double sum_of_squares(const float* row, int64_t hidden) {
    constexpr int64_t kLanes = 8;
    double sums[kLanes] = {};
    for (int64_t start = 0; start < hidden; start += kLanes)
        for (int64_t lane = 0; lane < std::min(kLanes, hidden - start); ++lane)
            sums[lane] += double{row[start + lane]} * double{row[start + lane]};
    double sum = 0;
    for (const double lane : sums) sum += lane;
    return sum;
}

// Of what is not finite, some exponent: such rows are refused by whoever computes them.
int64_t first_exponent(const JangtqGrids& grids, double expected_answer) {
    int above = 0;
    if (std::isfinite(expected_answer)) std::frexp(std::max(expected_answer, 1e-300), &above);
    return std::min(std::max(above - grids.expected_bits, grids.finest), grids.coarsest);
}

}  // namespace

int64_t jangtq_answer_bytes(int64_t rows, int64_t hidden) {
    return static_cast<int64_t>(sizeof(AnswerHead)) + rows * hidden * 4 + rows;
}

void jangtq_first_exponents(const JangtqGrids* grids, const float* rows, int64_t row_count, int64_t hidden,
                            double factor, int8_t* exponents) {
    for (int64_t row = 0; row < row_count; ++row)
        exponents[row] =
            static_cast<int8_t>(first_exponent(*grids, sum_of_squares(rows + row * hidden, hidden) * factor));
}

int32_t jangtq_ask(const JangtqExchange* exchange, int64_t layer, int64_t row_count, int64_t slot_count,
                   int64_t prefill, double factor, uint64_t call_id) {
    const Batch batch{layer, row_count, slot_count, prefill, call_id};
    if (row_count > kJangtqMostRows || slot_count > kJangtqMostSlots || !split(*exchange, batch))
        return JANGTQ_NOT_SPLIT;
    jangtq_first_exponents(exchange->grids, exchange->rows, row_count, exchange->hidden, factor, exchange->exponents);
    int32_t outcome = JANGTQ_ORDINARY;
    for (int32_t holder = 0; holder < exchange->holder_count; ++holder) {
        if (exchange->parts[holder].picks == 0) continue;
        CallFrame frame(*exchange, batch, holder);
        frame.send();
        frame.count_distinct();
        if (!frame.is_sent()) outcome = JANGTQ_NOT_SENT;
    }
    return outcome;
}

int32_t jangtq_collect(const JangtqExchange* exchange, int64_t row_count, uint64_t call_id, int64_t patience_ns) {
    const int64_t end_ns = now_ns() + patience_ns;
    int8_t finest[kJangtqMostRows];
    std::fill_n(exchange->units, row_count * exchange->hidden, 0);
    std::fill_n(finest, row_count, static_cast<int8_t>(exchange->grids->finest));
    *exchange->summary = {-1, 0, 0, 0, 0};
    for (int64_t holder = 0; holder < exchange->holder_count; ++holder) {
        if (exchange->parts[holder].picks == 0) continue;
        AnswerFrame frame(*exchange, holder);
        if (!read_answer(exchange->holders[holder], frame, call_id, end_ns) || !check_answer(frame, call_id))
            return JANGTQ_NOT_READ;
        add(*exchange, holder, frame, finest);
        summarise(*exchange->summary, holder, frame.part);
    }
    if (!suits(*exchange, row_count, finest)) return JANGTQ_MISFITS;
    for (int64_t row = 0; row < row_count; ++row) {
        const float scale = std::ldexp(1.0f, exchange->exponents[row]);
        const int64_t start = row * exchange->hidden;
        for (int64_t j = start; j < start + exchange->hidden; ++j)
            exchange->sums[j] = static_cast<float>(exchange->units[j]) * scale;
    }
    return JANGTQ_ORDINARY;
}
