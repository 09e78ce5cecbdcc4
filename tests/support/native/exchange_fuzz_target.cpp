// The native exchange with workers that answer whatever bytes come, in buffers of exactly the sizes of exchange.h.
// Built with libFuzzer and sanitizers; where there is no libFuzzer, with a main that draws the bytes.
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <vector>

#include "answer_frame.h"
#include "exchange.h"
#include "expert_messages.h"
#include "fuzz_input.h"
#include "row_values.h"

namespace {

constexpr uint64_t kCallId = 77;

// Some bytes are changed, added or left out.
std::vector<uint8_t> spoil(Input& input, std::vector<uint8_t> bytes) {
    for (int64_t changes = input.number(0, 2); changes > 0; --changes)
        bytes[static_cast<size_t>(input.number(0, static_cast<int64_t>(bytes.size()) - 1))] ^= input.take<uint8_t>();
    if (input.number(0, 3) == 0) bytes.resize(static_cast<size_t>(input.number(0, 2 * static_cast<int64_t>(bytes.size()))));
    bytes.shrink_to_fit();
    return bytes;
}

// An answer to a call of so many rows, right but for what is spoiled then.
std::vector<uint8_t> almost_right(Input& input, int64_t rows, int64_t hidden) {
    std::vector<uint8_t> frame = input.values<uint8_t>(jangtq_answer_bytes(rows, hidden));
    const auto sums_bytes = static_cast<size_t>(rows * hidden * 4);
    const uint8_t* sums = frame.data() + sizeof(jangtq::AnswerHead);
    const auto* finest = reinterpret_cast<const int8_t*>(sums + sums_bytes);
    const jangtq::AnswerHead head{static_cast<uint32_t>(frame.size() - 4), 0, kCallId, 1, 2,
                                  jangtq::answer_checksum(kCallId, sums, sums_bytes, finest, static_cast<size_t>(rows))};
    std::memcpy(frame.data(), &head, sizeof head);
    return spoil(input, frame);
}

// The same as a message.
std::vector<uint8_t> almost_right_message(Input& input, int64_t rows, int64_t hidden) {
    const auto sums = input.values<uint8_t>(rows * hidden * 4), finest = input.values<uint8_t>(rows);
    const uint32_t checksum =
        jangtq::answer_checksum(kCallId, sums.data(), sums.size(), finest.data(), finest.size());
    std::vector<uint8_t> message(jangtq::most_reply_bytes(rows, hidden));
    message.resize(jangtq::write_reply(
        {kCallId, 1, 2, {sums.data(), sums.size()}, {finest.data(), finest.size()}, checksum}, message.data()));
    return spoil(input, message);
}

// Both ends of the way to a worker that has answered, and says nothing more.
struct Connection {
    Connection() {
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) std::abort();
    }
    ~Connection() {
        close(ends[0]);
        close(ends[1]);
    }
    int ends[2];
};

void check_sent(const JangtqPart& part, int fd) {
    std::vector<uint8_t> frame(static_cast<size_t>(part.frame_bytes) + 1);
    if (recv(fd, frame.data(), frame.size(), MSG_DONTWAIT) != part.frame_bytes) std::abort();
    uint32_t length = 0;
    std::memcpy(&length, frame.data(), sizeof length);
    if (length + sizeof length != static_cast<size_t>(part.frame_bytes)) std::abort();
}

void check_message(const JangtqExchange& exchange, int64_t worker) {
    const JangtqPart& part = exchange.parts[worker];
    const std::vector<uint8_t> message(exchange.messages + worker * exchange.message_stride,
                                       exchange.messages + worker * exchange.message_stride + part.frame_bytes);
    jangtq::CallMessage call;
    if (!jangtq::read_call({message.data(), message.size()}, call) || call.call_id != kCallId) std::abort();
    const auto slot_bytes = size_t{call.row_count} * call.slot_count * 4;
    const int64_t row_bytes = exchange.hidden * jangtq::row_value_bytes(call.row_type);
    if (call.row_type != exchange.row_type || call.row_count != part.rows) std::abort();
    if (call.rows.size != static_cast<size_t>(part.rows * row_bytes)) std::abort();
    if (call.expert_ids.size != slot_bytes || call.router_weights.size != slot_bytes) std::abort();
    if (call.exponents.size != call.row_count) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    Input input(data, size);
    const int64_t rows = input.number(1, 5), slots = input.number(0, 6), hidden = input.number(1, 9);
    const int64_t experts = input.number(1, 7), count = input.number(1, 3);
    std::vector<Connection> connections(static_cast<size_t>(count));
    std::vector<JangtqWorker> workers;
    for (const auto& connection : connections)
        workers.push_back({input.number(0, 15) ? connection.ends[0] : -1, input.number(0, 1) * 1000});
    for (auto& worker : workers)
        if (input.number(0, 2) == 0) worker.fd = kJangtqByMessage;
    std::vector<int32_t> owners, ids;
    for (int64_t i = 0; i < experts; ++i) owners.push_back(static_cast<int32_t>(input.number(0, 15) ? i % count : -1));
    for (int64_t i = 0; i < rows * slots; ++i) ids.push_back(static_cast<int32_t>(input.number(-1, experts - 1)));
    if (!ids.empty() && input.number(0, 15) == 0) ids.back() = input.take<int32_t>();
    const int64_t row_type = input.number(1, 3);
    const auto x = input.values<uint8_t>(rows * hidden * jangtq::row_value_bytes(static_cast<uint32_t>(row_type)));
    const auto weights = input.values<float>(rows * slots);
    const JangtqGrids grids{-126, 97, 8, 26};
    std::vector<int8_t> exponents(static_cast<size_t>(rows));
    std::vector<float> sums(static_cast<size_t>(rows * hidden));
    std::vector<int32_t> row_index(static_cast<size_t>(count * kJangtqMostRows));
    std::vector<JangtqPart> parts(static_cast<size_t>(count));
    JangtqSummary summary{};
    const int64_t stride = (jangtq_answer_bytes(rows, hidden) + 3) / 4 * 4;
    std::vector<uint8_t> answers(static_cast<size_t>(count * stride));
    const int64_t message_stride = jangtq_most_message_bytes(rows, slots, hidden);
    std::vector<uint8_t> messages(static_cast<size_t>(count * message_stride));
    std::vector<JangtqReply> replies(static_cast<size_t>(count));
    std::vector<std::vector<uint8_t>> brought;
    const JangtqExchange exchange{workers.data(), count,      owners.data(),    experts,          hidden,
                                  &grids,         row_type,   exponents.data(), sums.data(),      parts.data(),
                                  &summary,       row_index.data(), answers.data(), stride,     messages.data(),
                                  message_stride, replies.data()};
    const int32_t asked = jangtq_ask(&exchange, x.data(), ids.data(), weights.data(), 3, rows, slots, 0, 1.0, kCallId);
    if (asked == JANGTQ_NOT_SPLIT) return 0;
    if (asked != JANGTQ_ORDINARY) std::abort();
    for (size_t i = 0; i < connections.size(); ++i) {
        if (parts[i].picks == 0) continue;
        if (workers[i].fd == kJangtqByMessage) {
            check_message(exchange, static_cast<int64_t>(i));
            brought.push_back(almost_right_message(input, parts[i].rows, hidden));
            const auto& reply = brought.back();
            const auto size = static_cast<int64_t>(reply.size());
            const int32_t taken = jangtq_take_message(&exchange, static_cast<int64_t>(i), kCallId, reply.data(), size);
            if ((taken == JANGTQ_ORDINARY) != (parts[i].is_whole == 1)) std::abort();
            continue;
        }
        check_sent(parts[i], connections[i].ends[1]);
        const auto answer = almost_right(input, parts[i].rows, hidden);
        if (send(connections[i].ends[1], answer.data(), answer.size(), 0) != static_cast<ssize_t>(answer.size())) std::abort();
        shutdown(connections[i].ends[1], SHUT_WR);
    }
    const int32_t outcome = jangtq_collect(&exchange, rows, kCallId, 1'000'000'000);
    if (outcome != JANGTQ_ORDINARY && outcome != JANGTQ_NOT_READ && outcome != JANGTQ_MISFITS) std::abort();
    for (const auto& part : parts)
        if (part.picks != 0 && outcome != JANGTQ_NOT_READ && part.is_whole != 1) std::abort();
    return 0;
}
