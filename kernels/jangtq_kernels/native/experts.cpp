// See experts.h: checks, plans and hands a call to the kernel of this machine's instruction set.
#include "experts.h"

#include <new>

#include "grid.h"
#include "layout.h"
#include "pool.h"

namespace {

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

}  // namespace

extern "C" {

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
