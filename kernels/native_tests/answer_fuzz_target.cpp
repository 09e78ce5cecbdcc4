// Frames of whatever bytes into native answers, in buffers of exactly their size at odd addresses. Built with libFuzzer
// and sanitizers; where there is no libFuzzer, with a main that draws the bytes.
#include <cstdlib>
#include <cstring>
#include <vector>

#include "answer/answer.h"
#include "fuzz_input.h"
#include "wire/checksum.h"
#include "wire/frame_heads.h"
#include "wire/row_values.h"

namespace {

constexpr int64_t kHidden = 3;

// Reads all that a kernel reads, and writes all that it writes.
int32_t forward(JangtqPool*, const JangtqLayer*, const JangtqCall* call, int64_t*) {
    const int64_t values = call->row_count * kHidden, slots = call->row_count * call->slot_count;
    std::memcpy(call->sums, call->rows, static_cast<size_t>(values * 4));
    std::memcpy(call->finest, call->exponents, static_cast<size_t>(call->row_count));
    float sum = 0;
    for (int64_t i = 0; i < slots; ++i) sum += call->router_weights[i] + static_cast<float>(call->expert_ids[i] & 1);
    return sum > 1e30f ? JANGTQ_FOREIGN_EXPERT : JANGTQ_OK;
}

std::vector<uint8_t> almost_right(Input& input) {
    const int64_t rows = input.number(1, 3), slots = input.number(1, 3);
    const auto row_type = static_cast<uint32_t>(input.number(1, 3));
    const auto slot_bytes = static_cast<uint32_t>(rows * slots * 4);
    const auto rows_bytes = static_cast<uint32_t>(rows * kHidden * jangtq::row_value_bytes(row_type));
    const int64_t arrays = 2 * slot_bytes + rows_bytes + rows;
    std::vector<uint8_t> frame(sizeof(jangtq::CallHead));
    const auto values = input.values<uint8_t>(arrays);
    frame.insert(frame.end(), values.begin(), values.end());
    const jangtq::CallHead head{static_cast<uint32_t>(frame.size() - 4),
                                static_cast<uint32_t>(input.number(0, 2)),
                                7,
                                static_cast<uint32_t>(rows),
                                static_cast<uint32_t>(slots),
                                row_type,
                                0,
                                slot_bytes,
                                slot_bytes,
                                rows_bytes,
                                static_cast<uint32_t>(rows)};
    std::memcpy(frame.data(), &head, sizeof head);
    for (int64_t changes = input.number(0, 2); changes > 0; --changes)
        frame[static_cast<size_t>(input.number(0, static_cast<int64_t>(frame.size()) - 1))] ^= input.take<uint8_t>();
    if (input.number(0, 3) == 0)
        frame.resize(static_cast<size_t>(input.number(0, 2 * static_cast<int64_t>(frame.size()))));
    return frame;
}

void check(bool is_right) {
    if (!is_right) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    Input input(data, size);
    const JangtqNativeLayer layers[] = {{forward, nullptr, nullptr}, {nullptr, nullptr, nullptr}};
    const auto bytes = almost_right(input);
    std::vector<uint8_t> memory(bytes.size() + 1);
    if (!bytes.empty()) std::memcpy(memory.data() + 1, bytes.data(), bytes.size());
    const uint8_t* const frame = memory.data() + 1;
    const auto frame_bytes = static_cast<int64_t>(bytes.size());
    const int64_t needed = jangtq_answer(layers, 2, kHidden, frame, frame_bytes, nullptr, 0);
    if (needed >= 0) return check(needed == JANGTQ_LEFT_TO_PYTHON), 0;
    std::vector<int32_t> into(static_cast<size_t>((3 - needed) / 4));
    auto* const start = reinterpret_cast<uint8_t*>(into.data());
    const int64_t written = jangtq_answer(layers, 2, kHidden, frame, frame_bytes, start, -needed);
    check(written == -needed || written == JANGTQ_LEFT_TO_PYTHON);
    return 0;
}
