#include "sockets/inbox.h"

#include <sched.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "wire/clock.h"
#include "wire/frame_heads.h"

namespace {

#ifdef MSG_NOSIGNAL
constexpr int kNoSignal = MSG_NOSIGNAL;
#else
constexpr int kNoSignal = 0;  // Python ignores SIGPIPE
#endif

// Bytes that must be in the inbox before it is known to hold a whole frame.
int64_t wanted_bytes(const JangtqInboxState& inbox) {
    return inbox.filled < int64_t{jangtq::kLengthBytes} ? int64_t{jangtq::kLengthBytes} : jangtq::frame_bytes(inbox);
}

// Looks until something comes or the time is over, whichever is first; of other threads, those with work go first.
ssize_t poll_socket(const JangtqInboxState& inbox, uint8_t* into, size_t room) {
    const int64_t end = jangtq::now_ns() + inbox.poll_ns;
    for (;;) {
        const ssize_t count = recv(static_cast<int>(inbox.socket), into, room, MSG_DONTWAIT);
        if (count >= 0 || (errno != EAGAIN && errno != EINTR) || jangtq::now_ns() > end) return count;
        sched_yield();
    }
}

ssize_t receive(const JangtqInboxState& inbox) {
    uint8_t* const into = inbox.memory + inbox.filled;
    const auto room = static_cast<size_t>(inbox.capacity - inbox.filled);
    if (inbox.poll_ns > 0) {
        const ssize_t count = poll_socket(inbox, into, room);
        if (count >= 0 || errno != EAGAIN) return count;
    }
    return recv(static_cast<int>(inbox.socket), into, room, 0);
}

}  // namespace

namespace jangtq {

int64_t frame_bytes(const JangtqInboxState& inbox) {
    uint32_t length;
    std::memcpy(&length, inbox.memory, sizeof length);
    return int64_t{kLengthBytes} + length;
}

void drop_frame(JangtqInboxState& inbox) {
    const int64_t bytes = frame_bytes(inbox);
    inbox.filled -= bytes;
    std::memmove(inbox.memory, inbox.memory + bytes, static_cast<size_t>(inbox.filled));
}

int64_t send_bytes(int64_t socket, const uint8_t* bytes, int64_t count, bool waits) {
    int64_t sent = 0;
    while (sent < count) {
        const ssize_t more = send(static_cast<int>(socket), bytes + sent, static_cast<size_t>(count - sent),
                                  kNoSignal | (waits ? 0 : MSG_DONTWAIT));
        if (more < 0 && errno == EINTR) continue;
        if (more < 0) break;
        sent += more;
    }
    return sent;
}

}  // namespace jangtq

int64_t jangtq_receive_frame(JangtqInboxState* inbox) {
    for (;;) {
        const int64_t wanted = wanted_bytes(*inbox);
        if (inbox->filled >= int64_t{jangtq::kLengthBytes} && inbox->filled >= wanted) return JANGTQ_RECEIVED;
        if (wanted > inbox->capacity) return JANGTQ_TOO_LARGE;
        const ssize_t count = receive(*inbox);
        if (count > 0) {
            inbox->filled += count;
        } else if (count == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) {
            return JANGTQ_ENDED;
        } else if (errno != EINTR) {
            return JANGTQ_SILENT;
        }
    }
}
