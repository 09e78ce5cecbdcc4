// The coordinator's codec on calls of any shape and on answers of whatever bytes, in buffers of exactly the sizes of
// exchange.h. Built with libFuzzer and sanitizers; where there is no libFuzzer, with a main that draws the bytes.
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <vector>

#include "exchange/direct.h"
#include "fuzz_input.h"
#include "wire/checksum.h"
#include "wire/frame_heads.h"
#include "wire/row_values.h"

namespace {

constexpr uint64_t kCallId = 77;
constexpr JangtqGrids kGrids{-126, 97, 12, 20};

// Some bytes are changed, added or left out.
std::vector<uint8_t> spoil(Input& input, std::vector<uint8_t> bytes) {
    for (int64_t changes = input.number(0, 2); changes > 0 && !bytes.empty(); --changes)
        bytes[static_cast<size_t>(input.number(0, static_cast<int64_t>(bytes.size()) - 1))] ^= input.take<uint8_t>();
    if (input.number(0, 3) == 0)
        bytes.resize(static_cast<size_t>(input.number(0, 2 * static_cast<int64_t>(bytes.size()))));
    bytes.shrink_to_fit();
    return bytes;
}

// An answer to a call of so many rows, right but for what is spoiled then.
std::vector<uint8_t> almost_right(Input& input, int64_t rows, int64_t hidden) {
    const auto sums_bytes = static_cast<size_t>(rows * hidden * 4);
    std::vector<uint8_t> frame = input.values<uint8_t>(
        static_cast<int64_t>(sizeof(jangtq::AnswerHead) + sums_bytes) + rows);
    const uint8_t* sums = frame.data() + sizeof(jangtq::AnswerHead);
    const jangtq::AnswerHead head{
        static_cast<uint32_t>(frame.size() - 4), 0, kCallId, 1, 2,
        jangtq::answer_checksum(kCallId, sums, sums_bytes, sums + sums_bytes, static_cast<size_t>(rows))};
    std::memcpy(frame.data(), &head, sizeof head);
    return spoil(input, frame);
}

// What one layer asks, with memory of exactly its size.
struct Asked {
    explicit Asked(Input& input)
        : row_count(input.number(1, 5)),
          slot_count(input.number(1, 4)),
          hidden(input.number(1, 9)),
          expert_count(input.number(1, 8)),
          worker_count(input.number(0, 3)),
          row_type(static_cast<uint32_t>(input.number(1, 3))),
          rows(input.values<uint8_t>(row_count * hidden * jangtq::row_value_bytes(row_type))),
          weights(input.values<float>(row_count * slot_count)),
          exponents(input.values<int8_t>(row_count)) {
        for (int64_t i = 0; i < row_count * slot_count; ++i)
            ids.push_back(static_cast<int32_t>(input.number(-2, expert_count)));
        for (int64_t i = 0; i < expert_count; ++i)
            owners.push_back(static_cast<int32_t>(input.number(-1, worker_count - 1)));
        ids.shrink_to_fit();
        owners.shrink_to_fit();
    }

    JangtqCallRows described() const {
        return {rows.data(), ids.data(),   weights.data(), exponents.data(), owners.data(), row_count, slot_count,
                hidden,      expert_count, worker_count,   row_type,         2,             1,         kCallId};
    }

    const int64_t row_count, slot_count, hidden, expert_count, worker_count;
    const uint32_t row_type;
    const std::vector<uint8_t> rows;
    const std::vector<float> weights;
    const std::vector<int8_t> exponents;
    std::vector<int32_t> ids, owners;
};

void check(bool is_right) {
    if (!is_right) std::abort();
}

void add_answers(Input& input, const Asked& asked, const std::vector<JangtqEncodedPart>& parts,
                 const std::vector<int32_t>& index) {
    std::vector<std::vector<uint8_t>> frames;
    std::vector<JangtqPartReply> replies;
    for (int64_t worker = 0; worker < asked.worker_count; ++worker) {
        const JangtqEncodedPart& part = parts[static_cast<size_t>(worker)];
        if (part.row_count == 0) continue;
        frames.push_back(almost_right(input, part.row_count, asked.hidden));
        const bool is_whole = part.row_count == asked.row_count;
        replies.push_back({nullptr, static_cast<int64_t>(frames.back().size()), kCallId, part.row_count,
                           is_whole ? nullptr : index.data() + part.index_at, 0, 0, 0, 0});
    }
    for (size_t i = 0; i < frames.size(); ++i) replies[i].frame = frames[i].data();
    std::vector<float> values(static_cast<size_t>(asked.row_count * asked.hidden));
    std::vector<int8_t> finest(static_cast<size_t>(asked.row_count));
    int64_t proof_ns = -1;
    const bool is_ordinary =
        jangtq_add(replies.data(), static_cast<int64_t>(replies.size()), &kGrids, asked.exponents.data(),
                   asked.row_count, asked.hidden, values.data(), finest.data(), &proof_ns);
    check(proof_ns >= 0);
    for (const JangtqPartReply& reply : replies) check(reply.is_good || !is_ordinary);
    for (const JangtqPartReply& reply : replies) check(reply.is_good == 0 || reply.compute_ns >= 0);
}

// One end of a connection whose other end sent these bytes and left.
int connection_after(const std::vector<uint8_t>& bytes) {
    int ends[2];
    check(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    check(write(ends[1], bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
    check(shutdown(ends[1], SHUT_WR) == 0);
    close(ends[1]);
    return ends[0];
}

// The same exchange in two calls, over connections of which some bring what is no answer.
void ask_and_take(Input& input, const Asked& asked, const std::vector<JangtqEncodedPart>& encoded) {
    std::vector<JangtqInboxState> inboxes(static_cast<size_t>(asked.worker_count));
    std::vector<JangtqInboxState*> addresses;
    std::vector<std::vector<uint8_t>> memory;
    for (JangtqInboxState& inbox : inboxes) {
        const auto worker = static_cast<size_t>(&inbox - inboxes.data());
        const int socket = connection_after(almost_right(input, encoded[worker].row_count, asked.hidden));
        memory.emplace_back(static_cast<size_t>(input.number(4, 300)));
        inbox = {socket, memory.back().data(), static_cast<int64_t>(memory.back().size()), 0, 0};
        addresses.push_back(&inbox);
    }
    std::vector<JangtqEncodedPart> parts(encoded.size());
    std::vector<int32_t> index(parts.size() * static_cast<size_t>(asked.row_count));
    std::vector<uint8_t> frames(4096);
    std::vector<int8_t> exponents(static_cast<size_t>(asked.row_count)), finest(exponents);
    std::vector<float> values(static_cast<size_t>(asked.row_count * asked.hidden));
    std::vector<JangtqPartReply> replies(static_cast<size_t>(asked.worker_count));
    JangtqCallRows described = asked.described();
    described.exponents = exponents.data();
    JangtqTurnFacts facts{};
    check(jangtq_ask(&kGrids, 1.5, &described, exponents.data(), addresses.data(), parts.data(), index.data(),
                     frames.data(), 4096, &facts) <= 4096);
    const int64_t taken = jangtq_take(&kGrids, &described, addresses.data(), parts.data(), index.data(),
                                      replies.data(), values.data(), finest.data(), &facts);
    check(taken == JANGTQ_TAKEN || taken == JANGTQ_NOT_ORDINARY);
    for (const JangtqInboxState& inbox : inboxes) {
        check(0 <= inbox.filled && inbox.filled <= inbox.capacity);
        close(static_cast<int>(inbox.socket));
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    Input input(data, size);
    Asked asked(input);
    for (int8_t& exponent : const_cast<std::vector<int8_t>&>(asked.exponents))
        exponent = static_cast<int8_t>(exponent / 2);
    std::vector<int8_t> chosen(static_cast<size_t>(asked.row_count));
    jangtq_choose_exponents(&kGrids, asked.row_type, asked.rows.data(), asked.row_count, asked.hidden, 1.5,
                            chosen.data());
    for (const int8_t exponent : chosen) check(exponent >= kGrids.finest && exponent <= kGrids.coarsest);
    const JangtqCallRows described = asked.described();
    std::vector<JangtqEncodedPart> parts(static_cast<size_t>(asked.worker_count + 1));
    std::vector<int32_t> index(static_cast<size_t>((asked.worker_count + 1) * asked.row_count));
    const int64_t needed = jangtq_encode(&described, parts.data(), index.data(), nullptr, 0);
    if (needed < 0) return 0;
    std::vector<uint8_t> frames(static_cast<size_t>(needed));
    check(jangtq_encode(&described, parts.data(), index.data(), frames.data(), needed) == needed);
    int64_t bytes = 0;
    for (const JangtqEncodedPart& part : parts) bytes += part.row_count ? part.frame_bytes : 0;
    check(bytes == needed);
    add_answers(input, asked, parts, index);
    ask_and_take(input, asked, parts);
    return 0;
}
