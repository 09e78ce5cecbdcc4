#include "exchange.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "answer_frame.h"
#include "call_frame.h"

namespace {

using jangtq::AnswerFrame;
using jangtq::Batch;
using jangtq::CallFrame;
using jangtq::kNoExpert;

bool is_by_message(const JangtqWorker& worker) { return worker.fd == kJangtqByMessage; }

bool is_reachable(const JangtqWorker& worker) { return worker.fd >= 0 || is_by_message(worker); }

// Counts the picks and lists the rows of each worker; false where somebody cannot be asked from here.
bool split(const JangtqExchange& exchange, const Batch& batch) {
    std::memset(exchange.parts, 0, sizeof(JangtqPart) * static_cast<size_t>(exchange.worker_count));
    for (int64_t row = 0; row < batch.rows; ++row) {
        for (int64_t slot = 0; slot < batch.slots; ++slot) {
            const int32_t expert = batch.expert_ids[row * batch.slots + slot];
            if (expert == kNoExpert) continue;
            if (expert < 0 || expert >= exchange.expert_count) return false;
            const int32_t worker = exchange.owners[expert];
            if (worker < 0 || !is_reachable(exchange.workers[worker])) return false;
            JangtqPart& part = exchange.parts[worker];
            int32_t* index = exchange.row_index + worker * kJangtqMostRows;
            if (part.rows == 0 || index[part.rows - 1] != row) index[part.rows++] = static_cast<int32_t>(row);
            ++part.picks;
        }
    }
    return true;
}

// Whether a proven answer is there, after it was waited for where it comes from a socket.
bool has_answer(const JangtqExchange& exchange, int64_t worker, uint64_t call_id, int64_t end_ns, JangtqReply& arrays) {
    const JangtqWorker& from = exchange.workers[worker];
    JangtqPart& part = exchange.parts[worker];
    if (is_by_message(from)) {
        arrays = exchange.replies[worker];
        return part.is_whole != 0;
    }
    AnswerFrame frame(exchange, worker);
    if (!jangtq::read_answer(from, frame, call_id, end_ns)) return false;
    const jangtq::Answer answer = jangtq::answer_of(frame);
    arrays = answer.arrays;
    return jangtq::prove(answer, part, exchange.hidden, call_id);
}

// Adds to the units of one row. Wraps around, as NumPy does: nobody promises that sums off a row's grid fit.
void add_row(int32_t* units, const uint8_t* sums, int64_t hidden) {
    for (int64_t j = 0; j < hidden; ++j) {
        uint32_t more;
        std::memcpy(&more, sums + j * 4, sizeof more);
        units[j] = static_cast<int32_t>(static_cast<uint32_t>(units[j]) + more);
    }
}

// Adds an answer to the units of its rows, and to the finest exponents of all answers.
void add(const JangtqExchange& exchange, int64_t worker, const JangtqReply& arrays, int32_t* units, int8_t* finest) {
    for (int64_t i = 0; i < exchange.parts[worker].rows; ++i) {
        const int32_t row = exchange.row_index[worker * kJangtqMostRows + i];
        add_row(units + row * exchange.hidden, arrays.sums + i * exchange.hidden * 4, exchange.hidden);
        finest[row] = std::max(finest[row], arrays.finest[i]);
    }
}

// Units become float32 where they lie: a buffer less to fetch for who finds nothing in the caches.
void read_off_grid(int32_t* units, int64_t hidden, int8_t exponent) {
    const float scale = std::ldexp(1.0f, exponent);
    for (int64_t j = 0; j < hidden; ++j) {
        const float sum = static_cast<float>(units[j]) * scale;
        std::memcpy(units + j, &sum, sizeof sum);
    }
}

void summarise(JangtqSummary& summary, int64_t worker, const JangtqPart& part) {
    summary.decode_ns += part.decode_ns;
    summary.read_ns = part.read_ns;
    if (summary.slowest >= 0 && part.queue_ns + part.compute_ns <= summary.queue_ns + summary.compute_ns) return;
    summary.slowest = worker;
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

template <typename Value, typename Widen>
double sum_of_squares(const Value* row, int64_t hidden, Widen widen) {
    constexpr int64_t kLanes = 8;
    double sums[kLanes] = {};
    for (int64_t start = 0; start < hidden; start += kLanes)
        for (int64_t lane = 0; lane < std::min(kLanes, hidden - start); ++lane) {
            const double value = widen(row[start + lane]);
            sums[lane] += value * value;
        }
    double sum = 0;
    for (const double lane : sums) sum += lane;
    return sum;
}

double sum_of_squares(uint32_t row_type, const uint8_t* row, int64_t hidden) {
    if (row_type == jangtq::kFloat32)
        return sum_of_squares(reinterpret_cast<const float*>(row), hidden, [](float value) { return value; });
    const auto* bits = reinterpret_cast<const uint16_t*>(row);
    return row_type == jangtq::kFloat16 ? sum_of_squares(bits, hidden, jangtq::widen_float16)
                                        : sum_of_squares(bits, hidden, jangtq::widen_bfloat16);
}

// Of what is not finite, some exponent: such rows are refused by whoever computes them.
int64_t first_exponent(const JangtqGrids& grids, double expected_answer) {
    int above = 0;
    if (std::isfinite(expected_answer)) std::frexp(std::max(expected_answer, 1e-300), &above);
    return std::min(std::max(above - grids.expected_bits, grids.finest), grids.coarsest);
}

}  // namespace

int64_t jangtq_answer_bytes(int64_t rows, int64_t hidden) {
    return static_cast<int64_t>(sizeof(jangtq::AnswerHead)) + rows * hidden * 4 + rows;
}

void jangtq_first_exponents(const JangtqGrids* grids, int64_t row_type, const uint8_t* rows, int64_t row_count,
                            int64_t hidden, double factor, int8_t* exponents) {
    const auto type = static_cast<uint32_t>(row_type);
    const int64_t row_bytes = hidden * jangtq::row_value_bytes(type);
    for (int64_t row = 0; row < row_count; ++row)
        exponents[row] = static_cast<int8_t>(
            first_exponent(*grids, sum_of_squares(type, rows + row * row_bytes, hidden) * factor));
}

int32_t jangtq_ask(const JangtqExchange* exchange, const uint8_t* rows, const int32_t* expert_ids,
                   const float* router_weights, int64_t layer, int64_t row_count, int64_t slot_count,
                   int64_t prefill, double factor, uint64_t call_id) {
    const Batch batch{rows, expert_ids, router_weights, layer, row_count, slot_count, prefill, call_id};
    if (row_count > kJangtqMostRows || slot_count > kJangtqMostSlots || !split(*exchange, batch))
        return JANGTQ_NOT_SPLIT;
    jangtq_first_exponents(exchange->grids, exchange->row_type, rows, row_count, exchange->hidden, factor,
                           exchange->exponents);
    int32_t outcome = JANGTQ_ORDINARY;
    for (int32_t worker = 0; worker < exchange->worker_count; ++worker) {
        if (exchange->parts[worker].picks == 0) continue;
        CallFrame frame(*exchange, batch, worker);
        if (is_by_message(exchange->workers[worker]))
            frame.write_message();
        else
            frame.send();
        frame.count_distinct();
        if (!frame.is_sent()) outcome = JANGTQ_NOT_SENT;
    }
    return outcome;
}

int64_t jangtq_most_message_bytes(int64_t rows, int64_t slots, int64_t hidden) {
    return static_cast<int64_t>(jangtq::most_call_bytes(rows, slots, hidden));
}

int32_t jangtq_take_message(const JangtqExchange* exchange, int64_t worker, uint64_t call_id, const uint8_t* message,
                            int64_t size) {
    JangtqPart& part = exchange->parts[worker];
    jangtq::Answer answer;
    if (!jangtq::read_answer({message, static_cast<size_t>(size)}, part, exchange->hidden, call_id, answer) ||
        !jangtq::prove(answer, part, exchange->hidden, call_id))
        return JANGTQ_NOT_READ;
    exchange->replies[worker] = answer.arrays;
    return JANGTQ_ORDINARY;
}

int32_t jangtq_collect(const JangtqExchange* exchange, int64_t row_count, uint64_t call_id, int64_t patience_ns) {
    const int64_t end_ns = jangtq::now_ns() + patience_ns;
    int8_t finest[kJangtqMostRows];
    auto* const units = reinterpret_cast<int32_t*>(exchange->sums);
    std::fill_n(units, row_count * exchange->hidden, 0);
    std::fill_n(finest, row_count, static_cast<int8_t>(exchange->grids->finest));
    *exchange->summary = {-1, 0, 0, 0, 0};
    for (int64_t worker = 0; worker < exchange->worker_count; ++worker) {
        if (exchange->parts[worker].picks == 0) continue;
        JangtqReply arrays;
        if (!has_answer(*exchange, worker, call_id, end_ns, arrays)) return JANGTQ_NOT_READ;
        add(*exchange, worker, arrays, units, finest);
        summarise(*exchange->summary, worker, exchange->parts[worker]);
    }
    if (!suits(*exchange, row_count, finest)) return JANGTQ_MISFITS;
    for (int64_t row = 0; row < row_count; ++row)
        read_off_grid(units + row * exchange->hidden, exchange->hidden, exchange->exponents[row]);
    return JANGTQ_ORDINARY;
}
