// See answers.h: frames of the express lane, from a socket and to it.
#include <sched.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <new>

#include "clock.h"
#include "admission.h"
#include "frame_heads.h"
#include "scratch.h"

namespace {

using jangtq::AnswerHead;
using jangtq::CallHead;
using jangtq::kLengthBytes;

// An answer begins so that the sums after its head are aligned for any vector.
constexpr int64_t kAlignment = 64, kAnswerAt = kAlignment - static_cast<int64_t>(sizeof(AnswerHead));

#ifdef MSG_NOSIGNAL
constexpr int kSendFlags = MSG_NOSIGNAL;
#else
constexpr int kSendFlags = 0;  // Python ignores SIGPIPE
#endif

// What is read of a frame.
enum class Found { kPart, kCall, kOther };

// Looks as soon as there is enough to tell: what is no ordinary call is not waited for.
Found look(const JangtqAdmission& admission, const JangtqInbox& inbox, JangtqWireCall& call, int64_t& frame_bytes) {
    uint32_t length;
    if (inbox.filled < kLengthBytes) return Found::kPart;
    std::memcpy(&length, inbox.buffer, sizeof length);
    frame_bytes = int64_t{length} + kLengthBytes;
    if (frame_bytes < static_cast<int64_t>(sizeof(CallHead)) || frame_bytes > inbox.capacity) return Found::kOther;
    if (inbox.filled < static_cast<int64_t>(sizeof(CallHead))) return Found::kPart;
    CallHead head;
    std::memcpy(&head, inbox.buffer, sizeof head);
    const int64_t sizes[] = {head.weights_bytes, head.ids_bytes, head.rows_bytes, head.exponents_bytes};
    if (static_cast<int64_t>(sizeof head) + sizes[0] + sizes[1] + sizes[2] + sizes[3] != frame_bytes)
        return Found::kOther;
    const uint8_t* const weights = inbox.buffer + sizeof head;
    const uint8_t *const ids = weights + sizes[0], *const rows = ids + sizes[1], *const exponents = rows + sizes[2];
    call = {head.call_id,     head.layer,      head.row_count,       head.slot_count,
            head.row_type,    {rows, sizes[2]}, {ids, sizes[1]},     {weights, sizes[0]},
            {exponents, sizes[3]}};
    if (!jangtq_is_ordinary(&admission, &call)) return Found::kOther;
    return inbox.filled < frame_bytes ? Found::kPart : Found::kCall;
}

// Bytes received; 0 at the end, negative with errno where the connection broke.
ssize_t receive(const JangtqInbox& inbox) {
    const int fd = static_cast<int>(inbox.fd);
    uint8_t* const into = inbox.buffer + inbox.filled;
    const auto room = static_cast<size_t>(inbox.capacity - inbox.filled);
    ssize_t count;
    if (inbox.poll_ns > 0) {
        const int64_t end = jangtq::now_ns() + inbox.poll_ns;
        do {
            count = recv(fd, into, room, MSG_DONTWAIT);
            if (count >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) return count;
            // Where there are fewer cores than pollers, whoever has something to do goes first.
            sched_yield();
        } while (jangtq::now_ns() <= end);
    }
    do {
        count = recv(fd, into, room, 0);
    } while (count < 0 && errno == EINTR);
    return count;
}

// 0, or the errno with which the connection broke.
int32_t send_all(int64_t fd, const uint8_t* bytes, int64_t count) {
    while (count > 0) {
        const ssize_t sent = send(static_cast<int>(fd), bytes, static_cast<size_t>(count), kSendFlags);
        if (sent < 0 && errno != EINTR) return errno;
        if (sent > 0) bytes += sent, count -= sent;
    }
    return 0;
}

}  // namespace

struct JangtqConversation {
    JangtqConversation(JangtqAdmission& admission, int64_t* asked_ns) : admission(admission), asked_ns(asked_ns) {}
    JangtqAdmission& admission;
    int64_t* const asked_ns;
    jangtq::Scratch memory;  // of the answer
};

namespace {

enum class Outcome { kAnswered, kLeft, kBroken };

// Answers a call, and sends that; the call is in flight until its answer left.
Outcome answer(JangtqConversation& conversation, const JangtqWireCall& call, int64_t fd, int32_t& error) {
    const jangtq::InFlight in_flight(conversation.admission);
    const int64_t rows = call.row_count, sums_bytes = rows * conversation.admission.hidden_size * 4;
    const int64_t frame_bytes = static_cast<int64_t>(sizeof(AnswerHead)) + sums_bytes + rows;
    uint8_t* const start =
        reinterpret_cast<uint8_t*>(conversation.memory.floats((kAnswerAt + frame_bytes + 3) / 4)) + kAnswerAt;
    uint8_t* const sums = start + sizeof(AnswerHead);
    JangtqAnswer found{reinterpret_cast<int32_t*>(sums), reinterpret_cast<int8_t*>(sums + sums_bytes), 0, 0, 0};
    if (!jangtq_answer(&conversation.admission, &call, &found)) return Outcome::kLeft;
    ++conversation.admission.total;
    __atomic_store_n(conversation.asked_ns, jangtq::now_ns(), __ATOMIC_RELAXED);
    const AnswerHead head{static_cast<uint32_t>(frame_bytes - kLengthBytes),
                          0,
                          call.call_id,
                          static_cast<uint64_t>(found.queue_ns),
                          static_cast<uint64_t>(found.compute_ns),
                          found.checksum};
    std::memcpy(start, &head, sizeof head);
    error = send_all(fd, start, frame_bytes);
    return error == 0 ? Outcome::kAnswered : Outcome::kBroken;
}

// True when a call may be whole by now.
bool read_more(JangtqInbox& inbox, int32_t& error) {
    const ssize_t count = receive(inbox);
    if (count < 0) error = errno;
    if (count > 0) inbox.filled += count;
    return count > 0;
}

int32_t answer_calls(JangtqConversation& conversation, JangtqInbox& inbox) {
    JangtqWireCall call;
    int64_t frame_bytes = 0;
    int32_t error = 0;
    for (;;) {
        const Found found = look(conversation.admission, inbox, call, frame_bytes);
        if (found == Found::kOther) return 0;
        if (found == Found::kPart) {
            if (!read_more(inbox, error)) return error;
            continue;
        }
        if (answer(conversation, call, inbox.fd, error) != Outcome::kAnswered) return error;
        inbox.filled -= frame_bytes;
        std::memmove(inbox.buffer, inbox.buffer + frame_bytes, static_cast<size_t>(inbox.filled));
    }
}

}  // namespace

JangtqConversation* jangtq_open_conversation(JangtqAdmission* admission, int64_t* asked_ns) {
    return new (std::nothrow) JangtqConversation(*admission, asked_ns);
}

void jangtq_close_conversation(JangtqConversation* conversation) { delete conversation; }

int32_t jangtq_answer_calls(JangtqConversation* conversation, JangtqInbox* inbox) {
    try {
        return answer_calls(*conversation, *inbox);
    } catch (const std::bad_alloc&) {
        return 0;
    }
}
