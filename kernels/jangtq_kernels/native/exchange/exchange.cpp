#include "exchange/exchange.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "wire/checksum.h"
#include "wire/clock.h"
#include "wire/frame_heads.h"
#include "wire/row_values.h"

namespace {

using jangtq::AnswerHead;
using jangtq::CallHead;
using jangtq::kLengthBytes;

constexpr int32_t kNoExpert = -1;

int64_t owner_of(const JangtqCallRows& asked, int32_t expert) {
    const int32_t owner = asked.owners[expert];
    return owner < 0 ? asked.worker_count : owner;
}

// Counts the picks and lists the rows of each worker; false where an expert id is beyond the owners.
bool split(const JangtqCallRows& asked, JangtqEncodedPart* parts, int32_t* row_index) {
    for (int64_t worker = 0; worker <= asked.worker_count; ++worker)
        parts[worker] = {0, 0, 0, worker * asked.row_count, 0, 0, 0};
    std::vector<bool> seen(static_cast<size_t>(asked.expert_count));
    for (int64_t row = 0; row < asked.row_count; ++row) {
        for (int64_t slot = 0; slot < asked.slot_count; ++slot) {
            const int32_t expert = asked.expert_ids[row * asked.slot_count + slot];
            if (expert == kNoExpert) continue;
            if (expert < 0 || expert >= asked.expert_count) return false;
            JangtqEncodedPart& part = parts[owner_of(asked, expert)];
            int32_t* const index = row_index + part.index_at;
            if (part.row_count == 0 || index[part.row_count - 1] != row)
                index[part.row_count++] = static_cast<int32_t>(row);
            ++part.picks;
            if (!seen[static_cast<size_t>(expert)]) ++part.distinct;
            seen[static_cast<size_t>(expert)] = true;
        }
    }
    return true;
}

// Of a single row only the worker's own slots travel, of several all of them.
int64_t slots_of(const JangtqCallRows& asked, const JangtqEncodedPart& part) {
    return asked.row_count == 1 ? part.picks : asked.slot_count;
}

int64_t row_bytes_of(const JangtqCallRows& asked) {
    return asked.hidden * jangtq::row_value_bytes(static_cast<uint32_t>(asked.row_type));
}

int64_t frame_bytes_of(const JangtqCallRows& asked, const JangtqEncodedPart& part) {
    const int64_t slots = slots_of(asked, part);
    return static_cast<int64_t>(sizeof(CallHead)) + part.row_count * (slots * 8 + row_bytes_of(asked) + 1);
}

// Writes one worker's frame: the head, router weights, expert ids, rows and exponents.
class CallWriter {
   public:
    CallWriter(const JangtqCallRows& asked, int64_t worker, const JangtqEncodedPart& part, const int32_t* index)
        : asked_(asked), worker_(worker), part_(part), index_(index) {}

    void write(uint8_t* frame) const {
        const int64_t rows = part_.row_count, slots = slots_of(asked_, part_), row_bytes = row_bytes_of(asked_);
        const auto slot_bytes = static_cast<uint32_t>(rows * slots * 4);
        const CallHead head{static_cast<uint32_t>(part_.frame_bytes) - kLengthBytes,
                            static_cast<uint32_t>(asked_.layer),
                            asked_.call_id,
                            static_cast<uint32_t>(rows),
                            static_cast<uint32_t>(slots),
                            static_cast<uint32_t>(asked_.row_type),
                            static_cast<uint32_t>(asked_.prefill),
                            slot_bytes,
                            slot_bytes,
                            static_cast<uint32_t>(rows * row_bytes),
                            static_cast<uint32_t>(rows)};
        std::memcpy(frame, &head, sizeof head);
        uint8_t* const weights = frame + sizeof head;
        uint8_t* const ids = weights + slot_bytes;
        uint8_t* const values = ids + slot_bytes;
        write_slots(weights, ids);
        for (int64_t i = 0; i < rows; ++i) {
            std::memcpy(values + i * row_bytes, asked_.rows + index_[i] * row_bytes, static_cast<size_t>(row_bytes));
            values[rows * row_bytes + i] = static_cast<uint8_t>(asked_.exponents[index_[i]]);
        }
    }

   private:
    void write_slots(uint8_t* weights, uint8_t* ids) const {
        int64_t at = 0;
        for (int64_t i = 0; i < part_.row_count; ++i) {
            const int64_t first = index_[i] * asked_.slot_count;
            for (int64_t slot = first; slot < first + asked_.slot_count; ++slot) {
                const int32_t expert = asked_.expert_ids[slot];
                const bool mine = expert != kNoExpert && owner_of(asked_, expert) == worker_;
                if (!mine && asked_.row_count == 1) continue;
                const int32_t sent = mine ? expert : kNoExpert;
                std::memcpy(weights + at, asked_.router_weights + slot, 4);
                std::memcpy(ids + at, &sent, 4);
                at += 4;
            }
        }
    }

    const JangtqCallRows& asked_;
    const int64_t worker_;
    const JangtqEncodedPart& part_;
    const int32_t* const index_;
};

// Whether the frame is an answer of the right size to this call, with a checksum that is right.
bool prove(JangtqPartReply& reply, int64_t hidden) {
    const auto rows = static_cast<size_t>(reply.row_count), sums_bytes = rows * static_cast<size_t>(hidden) * 4;
    if (reply.frame_bytes != static_cast<int64_t>(sizeof(AnswerHead) + sums_bytes + rows)) return false;
    AnswerHead head;
    std::memcpy(&head, reply.frame, sizeof head);
    const uint8_t* const sums = reply.frame + sizeof head;
    if (head.length + int64_t{kLengthBytes} != reply.frame_bytes || head.status != 0 ||
        head.call_id != reply.call_id || head.queue_ns > INT64_MAX || head.compute_ns > INT64_MAX ||
        jangtq::answer_checksum(head.call_id, sums, sums_bytes, sums + sums_bytes, rows) != head.checksum)
        return false;
    reply.queue_ns = static_cast<int64_t>(head.queue_ns);
    reply.compute_ns = static_cast<int64_t>(head.compute_ns);
    return true;
}

// Adds to the units of one row. Wraps around, as NumPy does: sums off a row's grid may not fit.
void add_row(int32_t* units, const uint8_t* sums, int64_t hidden) {
    for (int64_t j = 0; j < hidden; ++j) {
        uint32_t more;
        std::memcpy(&more, sums + j * 4, sizeof more);
        units[j] = static_cast<int32_t>(static_cast<uint32_t>(units[j]) + more);
    }
}

void add(const JangtqPartReply& reply, int64_t hidden, int32_t* units, int8_t* finest) {
    const uint8_t* const sums = reply.frame + sizeof(AnswerHead);
    const uint8_t* const exponents = sums + reply.row_count * hidden * 4;
    for (int64_t i = 0; i < reply.row_count; ++i) {
        const int64_t row = reply.row_index == nullptr ? i : reply.row_index[i];
        add_row(units + row * hidden, sums + i * hidden * 4, hidden);
        finest[row] = std::max(finest[row], static_cast<int8_t>(exponents[i]));
    }
}

// Units become float32 where they lie.
void read_off_grid(int32_t* units, int64_t hidden, int8_t exponent) {
    const float scale = std::ldexp(1.0f, exponent);
    for (int64_t j = 0; j < hidden; ++j) {
        const float sum = static_cast<float>(units[j]) * scale;
        std::memcpy(units + j, &sum, sizeof sum);
    }
}

// Eight sums, which NumpyCodec adds up in the same order.
template <typename Read>
double sum_of_squares(int64_t hidden, Read value_at) {
    constexpr int64_t kLanes = 8;
    double sums[kLanes] = {};
    for (int64_t start = 0; start < hidden; start += kLanes)
        for (int64_t lane = 0; lane < std::min(kLanes, hidden - start); ++lane) {
            const double value = value_at(start + lane);
            sums[lane] += value * value;
        }
    double sum = 0;
    for (const double lane : sums) sum += lane;
    return sum;
}

template <typename Value>
Value read_value(const uint8_t* row, int64_t at) {
    Value value;
    std::memcpy(&value, row + at * static_cast<int64_t>(sizeof value), sizeof value);
    return value;
}

double sum_of_squares(uint32_t row_type, const uint8_t* row, int64_t hidden) {
    if (row_type == jangtq::kFloat32)
        return sum_of_squares(hidden, [row](int64_t at) { return read_value<float>(row, at); });
    if (row_type == jangtq::kFloat16)
        return sum_of_squares(hidden,
                              [row](int64_t at) { return jangtq::widen_float16(read_value<uint16_t>(row, at)); });
    return sum_of_squares(hidden, [row](int64_t at) { return jangtq::widen_bfloat16(read_value<uint16_t>(row, at)); });
}

// Of what is not finite, some exponent: the worker refuses such rows.
int64_t exponent_for(const JangtqGrids& grids, double expected_answer) {
    int above = 0;
    if (std::isfinite(expected_answer)) std::frexp(std::max(expected_answer, 1e-300), &above);
    return std::min(std::max(above - grids.expected_bits, grids.finest), grids.coarsest);
}

}  // namespace

void jangtq_choose_exponents(const JangtqGrids* grids, int64_t row_type, const uint8_t* rows, int64_t row_count,
                             int64_t hidden, double factor, int8_t* exponents) {
    const auto type = static_cast<uint32_t>(row_type);
    const int64_t row_bytes = hidden * jangtq::row_value_bytes(type);
    for (int64_t row = 0; row < row_count; ++row)
        exponents[row] =
            static_cast<int8_t>(exponent_for(*grids, sum_of_squares(type, rows + row * row_bytes, hidden) * factor));
}

int64_t jangtq_encode(const JangtqCallRows* asked, JangtqEncodedPart* parts, int32_t* row_index, uint8_t* frames,
                      int64_t capacity) {
    if (!split(*asked, parts, row_index)) return -1;
    int64_t bytes = 0;
    for (int64_t worker = 0; worker < asked->worker_count; ++worker) {
        JangtqEncodedPart& part = parts[worker];
        if (part.row_count == 0) continue;
        part.frame_at = bytes;
        part.frame_bytes = frame_bytes_of(*asked, part);
        bytes += part.frame_bytes;
    }
    if (bytes > capacity) return bytes;
    for (int64_t worker = 0; worker < asked->worker_count; ++worker) {
        const JangtqEncodedPart& part = parts[worker];
        if (part.row_count != 0)
            CallWriter(*asked, worker, part, row_index + part.index_at).write(frames + part.frame_at);
    }
    return bytes;
}

int32_t jangtq_add(JangtqPartReply* replies, int64_t reply_count, const JangtqGrids* grids, const int8_t* exponents,
                   int64_t row_count, int64_t hidden, float* values, int8_t* finest, int64_t* proof_ns) {
    auto* const units = reinterpret_cast<int32_t*>(values);
    std::fill_n(units, row_count * hidden, 0);
    std::fill_n(finest, row_count, static_cast<int8_t>(grids->finest));
    *proof_ns = 0;
    bool is_ordinary = true;
    for (JangtqPartReply* reply = replies; reply != replies + reply_count; ++reply) {
        const int64_t started = jangtq::now_ns();
        reply->is_good = prove(*reply, hidden);
        *proof_ns += jangtq::now_ns() - started;
        if (reply->is_good)
            add(*reply, hidden, units, finest);
        else
            is_ordinary = false;
    }
    for (int64_t row = 0; row < row_count; ++row) {
        const int64_t coarser = int64_t{exponents[row]} - finest[row];
        is_ordinary = is_ordinary && coarser >= 0 && coarser <= grids->slack_bits;
        read_off_grid(units + row * hidden, hidden, exponents[row]);
    }
    return is_ordinary;
}
