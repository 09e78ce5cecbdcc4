// cblas_sgemm over jangtq::Product, for libraries whose own BLAS is slow: loaded before them, it stands in front.
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "processor.h"
#include "product.h"
#include "scratch.h"
#include "thread_pool.h"

namespace {

using jangtq::kColumnStep;
using jangtq::Product;

// CBLAS_LAYOUT and CBLAS_TRANSPOSE of the reference interface.
constexpr int kRowMajor = 101;
constexpr int kNotTransposed = 111;

// Below, waking a thread takes longer than it saves; about 0.2 ms of work.
constexpr int64_t kLeastShared = int64_t{1} << 24;

struct Isa {
    const char* name;
    jangtq::Multiply multiply;
};

std::vector<Isa> available_isas() {
    std::vector<Isa> isas;
#if defined(__x86_64__)
    if (jangtq::has_avx512()) isas.push_back({"avx512", jangtq::avx512::multiply});
    if (jangtq::has_avx2()) isas.push_back({"avx2", jangtq::avx2::multiply});
#elif defined(__aarch64__)
    isas.push_back({"neon", jangtq::neon::multiply});
#endif
    isas.push_back({"portable", jangtq::portable::multiply});
    return isas;
}

const std::vector<Isa> isas = available_isas();
std::atomic<jangtq::Multiply> multiply{isas.front().multiply};
std::atomic<int64_t> calls{0};
std::mutex turn;
std::unique_ptr<jangtq::ThreadPool> pool;
pid_t pool_owner = 0;  // a fork has the pool but not its threads

// Over all threads where it pays and nobody else has them, else on the caller's alone.
void compute(const Product& p) {
    const jangtq::Multiply chosen = multiply.load(std::memory_order_relaxed);
    const int64_t steps = (p.columns + kColumnStep - 1) / kColumnStep;
    std::unique_lock<std::mutex> lock(turn, std::defer_lock);
    const bool large = steps > 1 && p.rows * p.columns * p.depth >= kLeastShared;
    if (!large || !lock.try_lock() || !pool || pool_owner != getpid()) {
        chosen(p, 0, p.columns);
        return;
    }
    const int64_t at_once = std::max<int64_t>(1, steps / (4 * pool->threads()));
    jangtq::TaskCounter next;
    pool->run([&](int64_t) {
        for (int64_t task; next.take((steps + at_once - 1) / at_once, task);)
            chosen(p, task * at_once * kColumnStep,
                   std::min((task + 1) * at_once * kColumnStep, p.columns));
    });
}

// a [depth, rows] as [rows, depth]; kept by the thread for the next call.
void turn_left(Product& p) {
    thread_local jangtq::Scratch scratch;
    float* turned = scratch.floats(p.rows * p.depth);
    for (int64_t row = 0; row < p.rows; ++row)
        for (int64_t k = 0; k < p.depth; ++k) turned[row * p.depth + k] = p.a[k * p.a_stride + row];
    p.a = turned;
    p.a_stride = p.depth;
}

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

// The instruction sets that this machine has, the one in use first unless another was chosen.
const char* jangtq_blas_isas() {
    static const std::string names = [] {
        std::string joined;
        for (const Isa& isa : isas) joined += (joined.empty() ? "" : ",") + std::string(isa.name);
        return joined;
    }();
    return names.c_str();
}

void jangtq_blas_choose(int64_t isa) { multiply = isas[static_cast<size_t>(isa)].multiply; }

// How many products were asked for.
int64_t jangtq_blas_calls() { return calls.load(std::memory_order_relaxed); }

// Threads that share a large product; 0 when the machine gives no more. Waits for a product under way.
int32_t jangtq_blas_set_threads(int64_t threads) {
    std::lock_guard<std::mutex> lock(turn);
    try {
        pool = threads > 1 ? std::make_unique<jangtq::ThreadPool>(threads) : nullptr;
    } catch (const std::exception&) {
        return 0;
    }
    pool_owner = getpid();
    return 1;
}

void cblas_sgemm(int layout, int a_transposed, int b_transposed, int rows, int columns, int depth, float alpha,
                 const float* a, int a_stride, const float* b, int b_stride, float beta, float* c, int c_stride) {
    calls.fetch_add(1, std::memory_order_relaxed);
    if (layout != kRowMajor) {
        // The same memory read by rows holds the transposes: c' = b' * a'.
        std::swap(a, b);
        std::swap(a_stride, b_stride);
        std::swap(rows, columns);
        std::swap(a_transposed, b_transposed);
    }
    Product p{rows, columns, depth, a, b, c, a_stride, b_stride, c_stride,
              b_transposed != kNotTransposed, alpha, beta};
    if (a_transposed != kNotTransposed) turn_left(p);
    compute(p);
}

}
#pragma GCC visibility pop
