// Streams that ask at once, each answered natively or, as Python would, by whoever wants the device; meanwhile layers
// are swapped. Built with ThreadSanitizer, which tells of forwards that are not alone and of layers that are gone.
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "answers.h"

namespace {

constexpr int64_t kHidden = 4;
constexpr int kStreams = 4, kCalls = 300, kSwaps = 100;
constexpr uint32_t kFrameBytes = 48 + 4 + 4 + kHidden * 4 + 1, kAnswerBytes = 36 + kHidden * 4 + 1;

// What forwards write without any care: nobody else may compute, nor take experts away.
struct Experts {
    int64_t forwards = 0;
};
int64_t device_uses = 0;

int32_t forward(JangtqPool*, const JangtqLayer* layer, const JangtqCall* call, int64_t*) {
    auto* const experts = reinterpret_cast<Experts*>(const_cast<JangtqLayer*>(layer));
    ++experts->forwards;
    ++device_uses;
    std::memcpy(call->sums, call->rows, kHidden * sizeof(float));
    std::memcpy(call->finest, call->exponents, 1);
    return JANGTQ_OK;
}

std::vector<uint8_t> call_frame() {
    const uint32_t head[] = {kFrameBytes - 4, 0, 7, 0, 1, 1, 1, 0, 4, 4, kHidden * 4, 1};
    std::vector<uint8_t> frame(kFrameBytes, 0);
    std::memcpy(frame.data(), head, sizeof head);
    return frame;
}

void read_all(int fd, size_t bytes) {
    uint8_t answer[kAnswerBytes];
    while (bytes > 0) {
        const ssize_t count = recv(fd, answer, bytes, 0);
        if (count <= 0) std::abort();
        bytes -= static_cast<size_t>(count);
    }
}

// Asks and hears in turn.
void ask(int fd) {
    const std::vector<uint8_t> frame = call_frame();
    for (int call = 0; call < kCalls; ++call) {
        if (write(fd, frame.data(), frame.size()) != static_cast<ssize_t>(frame.size())) std::abort();
        read_all(fd, kAnswerBytes);
    }
    shutdown(fd, SHUT_WR);
}

// What is left to Python is answered by a forward of its own. Returns how many that were.
int64_t host(JangtqAdmission* admission, int fd) {
    int64_t asked_ns = 0;
    JangtqConversation* const conversation = jangtq_open_conversation(admission, &asked_ns);
    std::vector<uint8_t> buffer(2 * kFrameBytes);
    JangtqInbox inbox{fd, 0, buffer.data(), static_cast<int64_t>(buffer.size()), 0};
    int64_t left = 0;
    while (jangtq_answer_calls(conversation, &inbox) == 0 && inbox.filled > 0) {
        if (inbox.filled != kFrameBytes) std::abort();
        jangtq_want(admission);
        {
            // Python has one turn for all, then waits for the native forward that may still run.
            static std::mutex turn;
            const std::lock_guard<std::mutex> mine(turn);
            if (!jangtq_is_free(admission)) jangtq_wait_until_free(admission);
            ++device_uses;
        }
        jangtq_unwant(admission);
        const uint8_t answer[kAnswerBytes] = {};
        if (write(fd, answer, sizeof answer) != static_cast<ssize_t>(sizeof answer)) std::abort();
        inbox.filled = 0;
        ++left;
    }
    jangtq_close_conversation(conversation);
    return left;
}

std::unique_ptr<Experts> serve(JangtqAdmission* admission) {
    auto experts = std::make_unique<Experts>();
    const JangtqNativeLayer layer{forward, nullptr, reinterpret_cast<JangtqLayer*>(experts.get())};
    if (!jangtq_serve(admission, &layer)) std::abort();
    return experts;
}

}  // namespace

int main() {
    JangtqAdmission* const admission = jangtq_open_admission(1, kHidden);
    std::unique_ptr<Experts> experts = serve(admission);
    std::vector<std::thread> threads;
    int64_t left[kStreams] = {}, forwards = 0;
    for (int stream = 0; stream < kStreams; ++stream) {
        int sockets[2];
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) != 0) std::abort();
        threads.emplace_back(ask, sockets[0]);
        threads.emplace_back([&left, admission, stream, fd = sockets[1]] { left[stream] = host(admission, fd); });
    }
    for (int swap = 0; swap < kSwaps; ++swap) {
        std::unique_ptr<Experts> next = serve(admission);
        forwards += experts->forwards;
        experts = std::move(next);
        std::this_thread::yield();
    }
    for (auto& thread : threads) thread.join();
    JangtqCounts counts;
    jangtq_count(admission, &counts);
    forwards += experts->forwards;
    int64_t answered = forwards;
    for (const int64_t count : left) answered += count;
    if (answered != kStreams * kCalls || answered != device_uses || counts.total != forwards) std::abort();
    if (counts.in_flight != 0 || counts.computing != 0) std::abort();
    jangtq_close_admission(admission);
    std::printf("%lld\n", static_cast<long long>(forwards));
}
