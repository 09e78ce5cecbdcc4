// A connection on whatever bytes come, good frames among them, read into memory of exactly the size that is lent.
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "answers.h"
#include "fuzz_input.h"

namespace {

constexpr int64_t kHidden = 4, kLayers = 2;
constexpr size_t kHeadBytes = 48, kAnswerHeadBytes = 36;

int32_t echo(JangtqPool*, const JangtqLayer*, const JangtqCall* call, int64_t*) {
    if (call->expert_ids[call->row_count * call->slot_count - 1] == 1) return JANGTQ_FOREIGN_EXPERT;
    float sum = 0;
    for (int64_t i = 0; i < call->row_count * call->slot_count; ++i) sum += call->router_weights[i];
    if (sum != sum) std::abort();
    std::memcpy(call->sums, call->rows, static_cast<size_t>(call->row_count * kHidden) * sizeof(float));
    std::memcpy(call->finest, call->exponents, static_cast<size_t>(call->row_count));
    return JANGTQ_OK;
}

void append(std::string& words, const void* at, size_t bytes) {
    words.append(static_cast<const char*>(at), bytes);
}

// A frame that says the truth about its sizes, of values that may be anything.
std::string frame(Input& input) {
    const auto rows = static_cast<uint32_t>(input.number(1, 5)), slots = static_cast<uint32_t>(input.number(1, 3));
    const auto row_type = static_cast<uint32_t>(input.number(1, 3));
    const uint32_t value_bytes = row_type == 1 ? 4 : 2;
    const uint32_t sizes[] = {rows * slots * 4, rows * slots * 4, rows * uint32_t{kHidden} * value_bytes, rows};
    const uint32_t length = uint32_t{kHeadBytes} - 4 + sizes[0] + sizes[1] + sizes[2] + sizes[3];
    const uint32_t head[] = {length, static_cast<uint32_t>(input.number(0, kLayers - 1)), input.take<uint16_t>(), 0,
                             rows, slots, row_type, 0};
    std::string words;
    append(words, head, sizeof head);
    append(words, sizes, sizeof sizes);
    // Small bytes make finite values, and exponents of grids.
    while (words.size() < 4 + length) words.push_back(static_cast<char>(input.take<uint8_t>() & 0x3f));
    return words;
}

std::string words_of(Input& input) {
    std::string words;
    for (int64_t frames = input.number(0, 6); frames > 0; --frames) {
        words += frame(input);
        if (input.number(0, 2) == 0) words[words.size() - 1 - input.take<uint8_t>() % words.size()] ^= input.take<char>();
        if (input.number(0, 15) == 0) words.resize(words.size() - input.take<uint8_t>() % words.size());
    }
    return words;
}

// What Python would do with a frame that is left to it; false where it waits for more or ends the connection.
bool drop_frame(JangtqInbox& inbox) {
    uint32_t length;
    if (inbox.filled < 4) return false;
    std::memcpy(&length, inbox.buffer, sizeof length);
    const int64_t bytes = int64_t{length} + 4;
    if (bytes > inbox.filled) return false;
    inbox.filled -= bytes;
    std::memmove(inbox.buffer, inbox.buffer + bytes, static_cast<size_t>(inbox.filled));
    return true;
}

// Aborts unless there are as many whole answers as were counted.
void check_answers(int fd, int64_t answers) {
    std::string heard(1 << 16, '\0');
    const ssize_t count = recv(fd, &heard[0], heard.size(), MSG_DONTWAIT);
    size_t at = 0;
    const size_t end = count < 0 ? 0 : static_cast<size_t>(count);
    for (; at < end; --answers) {
        uint32_t head[2];
        if (end - at < kAnswerHeadBytes) std::abort();
        std::memcpy(head, &heard[at], sizeof head);
        if (head[1] != 0 || (head[0] + 4 - kAnswerHeadBytes) % (kHidden * 4 + 1) != 0) std::abort();
        at += head[0] + 4;
    }
    if (at != end || answers != 0) std::abort();
}

void check(JangtqAdmission* admission, JangtqConversation* conversation, Input& input) {
    int sockets[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) != 0) std::abort();
    const std::string words = words_of(input);
    if (write(sockets[0], words.data(), words.size()) != static_cast<ssize_t>(words.size())) std::abort();
    shutdown(sockets[0], SHUT_WR);
    const int64_t capacity = input.number(48, 700);
    const std::unique_ptr<uint8_t[]> buffer(new uint8_t[static_cast<size_t>(capacity)]);
    JangtqInbox inbox{sockets[1], input.number(0, 1) * 1000, buffer.get(), capacity, 0};
    JangtqCounts before, after;
    jangtq_count(admission, &before);
    do {
        if (jangtq_answer_calls(conversation, &inbox) != 0) std::abort();
        if (inbox.filled < 0 || inbox.filled > capacity) std::abort();
    } while (drop_frame(inbox));
    jangtq_count(admission, &after);
    if (after.in_flight != 0 || after.computing != 0) std::abort();
    check_answers(sockets[0], after.total - before.total);
    close(sockets[0]);
    close(sockets[1]);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static JangtqAdmission* const admission = jangtq_open_admission(kLayers, kHidden);
    static int64_t asked_ns = 0;
    static JangtqConversation* const conversation = jangtq_open_conversation(admission, &asked_ns);
    static const JangtqNativeLayer layers[kLayers] = {{echo, nullptr, nullptr}, {nullptr, nullptr, nullptr}};
    static const bool serves = jangtq_serve(admission, layers);
    if (!serves) std::abort();
    Input input(data, size);
    check(admission, conversation, input);
    return 0;
}
