// See experts.h: checks, plans and hands a call to the kernel of this machine's instruction set.
#include "experts.h"

#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <string>

#include "grid.h"
#include "kernel.h"
#include "layout.h"
#include "processor.h"

namespace {

using jangtq::Forward;

struct Isa {
    const char* name;
    Forward float32;
    Forward int8;
};

std::vector<Isa> available_isas() {
    std::vector<Isa> isas;
#if defined(__x86_64__)
    if (jangtq::has_avx512()) {
        const bool has_bytes = __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vnni");
        isas.push_back({"avx512", jangtq::avx512::forward,
                        has_bytes ? jangtq::avx512_int8::forward : jangtq::avx2_int8::forward});
    }
    if (jangtq::has_avx2()) isas.push_back({"avx2", jangtq::avx2::forward, jangtq::avx2_int8::forward});
#elif defined(__aarch64__)
    isas.push_back({"neon", jangtq::neon::forward, jangtq::neon_int8::forward});
#endif
    isas.push_back({"portable", jangtq::portable::forward, jangtq::portable_int8::forward});
    return isas;
}

// What JangtqLayer demands of its matrices.
bool matrices_fit(const JangtqLayer& layer) {
    const JangtqMatrix &gate = layer.gate, &up = layer.up, &down = layer.down;
    for (const JangtqMatrix* matrix : {&gate, &up, &down})
        if (matrix->bits < 2 || matrix->bits > 4 || matrix->in < 1 || matrix->out < 1) return false;
    return up.bits == gate.bits && up.codebook == gate.codebook && up.signs == gate.signs && up.in == gate.in &&
           up.out == gate.out && down.in == gate.out && down.out == gate.in;
}

// False where an answer is not finite or needs a grid coarser than there is.
bool find_finest(const std::vector<uint32_t>& magnitudes, int8_t* finest) {
    bool fits = true;
    for (size_t row = 0; row < magnitudes.size(); ++row) {
        const int32_t exponent = jangtq::finest_exponent(magnitudes[row]);
        fits &= exponent <= jangtq::kCoarsest;
        finest[row] = static_cast<int8_t>(exponent);
    }
    return fits;
}

Forward find_forward(const char* name, bool int8) {
    for (const Isa& isa : available_isas())
        if (name == nullptr || std::strcmp(name, isa.name) == 0) return int8 ? isa.int8 : isa.float32;
    return nullptr;
}

}  // namespace

struct JangtqPool {
    JangtqPool(int64_t threads, Forward chosen, jangtq::Prefetch of_single_rows)
        : pool(threads), forward(chosen), single(of_single_rows), space() {
        space.prepared_by_thread = std::vector<jangtq::Scratch>(static_cast<size_t>(threads));
    }
    jangtq::ThreadPool pool;
    Forward forward;
    jangtq::Prefetch single;
    jangtq::Workspace space;
    jangtq::Plan plan;
    std::mutex turn;
};

extern "C" {

JangtqPool* jangtq_open_pool(int64_t threads, const char* isa, int32_t int8, const char* vendor) {
    const Forward forward = find_forward(isa, int8 != 0);
    if (forward == nullptr || threads < 1) return nullptr;
    try {
        const std::string made_by = vendor == nullptr ? jangtq::processor_vendor() : vendor;
        return new JangtqPool(threads, forward, jangtq::prefetch_of_single_rows(made_by));
    } catch (const std::exception&) {
        return nullptr;
    }
}

void jangtq_close_pool(JangtqPool* pool) { delete pool; }

const char* jangtq_isas() {
    static const std::string names = [] {
        std::string joined;
        for (const Isa& isa : available_isas()) joined += (joined.empty() ? "" : ",") + std::string(isa.name);
        return joined;
    }();
    return names.c_str();
}

void jangtq_lay_out(const uint32_t* bundle, uint32_t* laid_out, int64_t out, int64_t words) {
    const int64_t padded = jangtq::padded_out(out);
    for (int64_t first = 0; first < padded; first += jangtq::block_rows(first, padded)) {
        const int64_t rows = jangtq::block_rows(first, padded);
        uint32_t* block = laid_out + first * words;
        for (int64_t row = 0; row < rows; ++row)
            for (int64_t word = 0; word < words; ++word)
                block[word * rows + row] = first + row < out ? bundle[(first + row) * words + word] : 0;
    }
}

int32_t jangtq_forward(JangtqPool* pool, const JangtqLayer* layer, const JangtqCall* call, int64_t* offender) {
    if (!matrices_fit(*layer)) return JANGTQ_MATRICES_UNFIT;
    const std::lock_guard<std::mutex> turn(pool->turn);
    try {
        const int32_t status = jangtq::plan_pairs(*layer, *call, pool->plan, offender);
        if (status != JANGTQ_OK) return status;
        jangtq::cut_chunks(pool->plan);
        pool->space.finite = true;
        pool->space.magnitudes.assign(static_cast<size_t>(call->row_count), 0);
        pool->space.rows.reset();
        pool->space.products.reset();
        pool->space.pairs.reset();
        pool->space.sums.reset();
        pool->forward(pool->pool, pool->space, *layer, *call, pool->plan, pool->single);
        if (!pool->space.finite) return JANGTQ_ROWS_NOT_FINITE;
        return find_finest(pool->space.magnitudes, call->finest) ? JANGTQ_OK : JANGTQ_ANSWERS_OUT_OF_RANGE;
    } catch (const std::bad_alloc&) {
        return JANGTQ_OUT_OF_MEMORY;
    }
}

}
