// See dense.h: checks a call, and shares it out among a pool's threads.
#include "dense.h"

#include <algorithm>
#include <new>

#include "pool.h"

namespace {

using jangtq::DensePart;

constexpr int64_t kFewRows = 4;  // that one thread prepares, before the others are woken

bool is_number(int64_t type) {
    return type == JANGTQ_FLOAT32 || type == JANGTQ_FLOAT16 || type == JANGTQ_BFLOAT16;
}

// Matrices of a call that want rows in the same form, and the columns of each as tasks.
class Tasks {
public:
    Tasks(JangtqPool& pool, const JangtqDenseCall& call, int64_t first, int64_t last)
        : pool_(pool), call_(call), first_(first), last_(last) {
        for (int64_t index = first; index < last; ++index) {
            count_ += tasks_of(call.matrices[index]);
            work_ += call.matrices[index].out * call.matrices[index].in * call.row_count;
        }
    }

    void run() {
        take_memory();
        pool_.rows.reset();
        pool_.tasks.reset();
        const bool few = call_.row_count <= kFewRows;
        if (few) prepare_rows();
        const auto work = [&](int64_t thread) {
            if (!few) {
                prepare_rows();
                pool_.pool.meet();
            }
            for (int64_t task; pool_.tasks.take(count_, task);)
                pool_.dense.multiply(part(task), pool_.by_thread[static_cast<size_t>(thread)]);
        };
        if (few && work_ < jangtq::kLeastShared) work(0);
        else pool_.pool.run(work);
    }

private:
    static int64_t tasks_of(const JangtqDense& m) {
        const int64_t step = jangtq::columns_a_task(m);
        return (m.out + step - 1) / step;
    }

    void take_memory() {
        for (auto& scratch : pool_.by_thread)
            for (int64_t index = first_; index < last_; ++index)
                scratch.floats(jangtq::dense_scratch_floats(call_.matrices[index]));
        const JangtqDense& m = call_.matrices[first_];
        if (m.bits == 0) return;
        prepared_floats_ = pool_.dense.prepared_floats(m.in, m.group);
        prepared_ = pool_.prepared.floats(call_.row_count * prepared_floats_);
    }

    // By whoever calls it, together.
    void prepare_rows() {
        const JangtqDense& m = call_.matrices[first_];
        if (m.bits == 0) return;
        for (int64_t row; pool_.rows.take(call_.row_count, row);)
            pool_.dense.prepare(call_.rows + row * m.in, m.in, m.group, prepared_ + row * prepared_floats_);
    }

    DensePart part(int64_t task) const {
        int64_t index = first_;
        for (; task >= tasks_of(call_.matrices[index]); ++index) task -= tasks_of(call_.matrices[index]);
        const JangtqDense& m = call_.matrices[index];
        const int64_t step = jangtq::columns_a_task(m);
        return {m, call_.rows, prepared_, prepared_floats_, call_.row_count, call_.products[index], task * step,
                std::min((task + 1) * step, m.out)};
    }

    JangtqPool& pool_;
    const JangtqDenseCall& call_;
    const int64_t first_, last_;
    float* prepared_ = nullptr;
    int64_t prepared_floats_ = 0;
    int64_t count_ = 0;
    int64_t work_ = 0;  // multiplications
};

// Rows are prepared for a group size, or not at all for plain numbers.
bool want_same_rows(const JangtqDense& a, const JangtqDense& b) {
    return (a.bits == 0) == (b.bits == 0) && (a.bits == 0 || a.group == b.group);
}

bool matrices_fit(const JangtqDenseCall& call) {
    for (int64_t index = 0; index < call.matrix_count; ++index)
        if (!jangtq::is_dense(call.matrices[index]) || call.matrices[index].in != call.matrices[0].in) return false;
    return call.row_count >= 0;
}

}  // namespace

namespace jangtq {

bool is_dense(const JangtqDense& m) {
    if (m.out < 1 || m.in < 1 || !is_number(m.number)) return false;
    if (m.bits == 0) return true;
    return (m.bits == 8 || m.bits == 6 || m.bits == 4) && (m.group == 32 || m.group == 64 || m.group == 128) &&
           m.in % m.group == 0;
}

}  // namespace jangtq

extern "C" {

int32_t jangtq_multiply_dense(JangtqPool* pool, const JangtqDenseCall* call) {
    if (!matrices_fit(*call)) return JANGTQ_MATRICES_UNFIT;
    if (call->row_count == 0) return JANGTQ_OK;
    const std::lock_guard<std::mutex> turn(pool->turn);
    try {
        for (int64_t first = 0, last = 0; first < call->matrix_count; first = last) {
            while (last < call->matrix_count && want_same_rows(call->matrices[first], call->matrices[last])) ++last;
            Tasks(*pool, *call, first, last).run();
        }
    } catch (const std::bad_alloc&) {
        return JANGTQ_OUT_OF_MEMORY;
    }
    return JANGTQ_OK;
}

int32_t jangtq_look_up_dense(JangtqPool* pool, const JangtqDense* matrix, const int32_t* ids, int64_t count,
                             float* rows) {
    if (!jangtq::is_dense(*matrix)) return JANGTQ_MATRICES_UNFIT;
    for (int64_t index = 0; index < count; ++index)
        if (ids[index] < 0 || ids[index] >= matrix->out) return JANGTQ_MATRICES_UNFIT;
    for (int64_t index = 0; index < count; ++index)
        pool->dense.look_up(*matrix, ids[index], rows + index * matrix->in);
    return JANGTQ_OK;
}

}
