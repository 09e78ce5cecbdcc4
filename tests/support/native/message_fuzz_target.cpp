// Whatever bytes come as a message, in memory of exactly its size, with room for exactly the longest reply: nothing
// else is touched, and a reply says what the call asked. Built with libFuzzer and sanitizers; where there is no
// libFuzzer, with a main that draws the bytes.
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "expert_messages.h"
#include "fuzz_input.h"
#include "messages.h"

namespace {

constexpr int64_t kHidden = 2, kLayers = 3;

// Reads all that it is given, and gives the bits of the rows back.
int32_t echo(JangtqPool*, const JangtqLayer*, const JangtqCall* call, int64_t*) {
    volatile float sum = 0;
    for (int64_t i = 0; i < call->row_count * call->slot_count; ++i)
        sum = sum + static_cast<float>(call->expert_ids[i]) * call->router_weights[i];
    std::memcpy(call->sums, call->rows, static_cast<size_t>(call->row_count * kHidden) * sizeof(int32_t));
    std::memcpy(call->finest, call->exponents, static_cast<size_t>(call->row_count));
    return JANGTQ_OK;
}

struct Admission {
    Admission() : admission(jangtq_open_admission(kLayers, kHidden)) {
        const JangtqNativeLayer layers[kLayers] = {{echo, nullptr, nullptr}, {}, {echo, nullptr, nullptr}};
        if (admission == nullptr || !jangtq_serve(admission, layers)) std::abort();
        reply.resize(static_cast<size_t>(jangtq_most_reply_bytes(admission)));
        reply.shrink_to_fit();
        stream = jangtq_open_stream(admission, reply.data(), &asked_ns);
        if (stream == nullptr) std::abort();
    }
    ~Admission() {
        jangtq_close_stream(stream);
        jangtq_close_admission(admission);
    }
    JangtqAdmission* admission;
    std::vector<uint8_t> reply;
    JangtqStream* stream;
    int64_t asked_ns = 0;
};

void append_varint(std::string& to, uint64_t value) {
    for (; value > 0x7F; value >>= 7) to += static_cast<char>(value | 0x80);
    to += static_cast<char>(value);
}

// A good call of as many rows and slots as the first bytes say, its arrays filled with those that follow.
std::string good_call(const uint8_t* data, size_t size) {
    const uint64_t rows = size > 0 ? 1 + data[0] % 70 : 1, slots = size > 1 ? 1 + data[1] % 34 : 1;
    const auto filled = [&](size_t count) {
        std::string bytes(count, '\0');
        for (size_t i = 0; i < count && size > 0; ++i) bytes[i] = static_cast<char>(data[i % size] & 0x3F);
        return bytes;
    };
    std::string message;
    for (const auto& [tag, value] : {std::pair<char, uint64_t>{0x08, size + 1}, {0x18, rows}, {0x20, slots}, {0x28, 1}}) {
        message += tag;
        append_varint(message, value);
    }
    for (const auto& [tag, count] : {std::pair<char, uint64_t>{0x32, rows * kHidden * 4}, {0x3A, rows * slots * 4},
                                     {0x42, rows * slots * 4}, {0x4A, rows}}) {
        message += tag;
        append_varint(message, count);
        message += filled(count);
    }
    return message;
}

int64_t answer(const uint8_t* data, size_t size, int64_t most_rows) {
    static Admission at;
    const std::vector<uint8_t> exact(data, data + size);
    double row_ns = 0;
    const int64_t length = jangtq_answer_message(at.stream, exact.data(), static_cast<int64_t>(size), most_rows, &row_ns);
    if (length > static_cast<int64_t>(at.reply.size()) || length < JANGTQ_TOO_LONG) std::abort();
    if (length <= 0) return length;
    jangtq::CallMessage call;
    if (!jangtq::read_call({exact.data(), size}, call)) std::abort();
    jangtq::MessageReader reader({at.reply.data(), static_cast<size_t>(length)});
    uint64_t call_id = 0;
    jangtq::Bytes sums;
    if (!reader.read_number(0x08, call_id) || !reader.read_bytes(0x12, sums)) std::abort();
    if (call_id != call.call_id || sums.size != call.row_count * kHidden * sizeof(int32_t)) std::abort();
    return length;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    answer(data, size, INT64_MAX);
    const std::string good = good_call(data, size);
    const auto* bytes = reinterpret_cast<const uint8_t*>(good.data());
    answer(bytes, good.size(), 3);
    // The same with one byte taken from the input, wherever it says.
    std::string spoiled = good;
    if (size > 3) spoiled[(data[2] * 256u + data[3]) % spoiled.size()] = static_cast<char>(data[size - 1]);
    answer(reinterpret_cast<const uint8_t*>(spoiled.data()), spoiled.size(), INT64_MAX);
    return 0;
}
