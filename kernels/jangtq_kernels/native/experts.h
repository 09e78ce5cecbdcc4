// The C interface of the native kernel: one layer's experts, a pool of threads, and the forward over them.
#pragma once

#include <cstdint>

#pragma GCC visibility push(default)
extern "C" {

// One projection of several experts. Codes are laid out for the kernel by `jangtq_lay_out`.
struct JangtqMatrix {
    const uint32_t* codes;   // [experts][padded_out / block][words][block], see layout.h
    const uint16_t* norms;   // float16 [experts][out]
    const float* codebook;   // [1 << bits]
    const float* signs;      // [in]
    int64_t out;
    int64_t in;
    int64_t bits;
};

// One rotated and prepared row serves gate and up: they must have the same out, in and bits, and point to the
// same codebook and signs. down takes what they give back to rows: its in is their out, its out their in.
struct JangtqLayer {
    JangtqMatrix gate;
    JangtqMatrix up;
    JangtqMatrix down;
    int64_t experts;
    const int32_t* positions;  // position of each expert id in this shard, -1 where it is not held
    int64_t position_count;
};

struct JangtqCall {
    const float* rows;            // [rows][hidden]
    const int32_t* expert_ids;    // [rows][slots], -1 where a slot is unused
    const float* router_weights;  // [rows][slots]
    const int8_t* exponents;      // [rows], of the grids of the sums
    int64_t row_count;
    int64_t slot_count;
    int32_t* sums;   // [rows][hidden], in units of 2^exponent
    int8_t* finest;  // [rows], the smallest exponent whose grid holds the row's answers
};

enum JangtqStatus : int32_t {
    JANGTQ_OK = 0,
    JANGTQ_FOREIGN_EXPERT = 1,
    JANGTQ_ROWS_NOT_FINITE = 2,
    JANGTQ_WEIGHTS_NOT_FINITE = 3,
    JANGTQ_OUT_OF_MEMORY = 4,
    JANGTQ_ANSWERS_OUT_OF_RANGE = 5,
    JANGTQ_MATRICES_UNFIT = 6,
};

struct JangtqPool;

// threads: 1 and above. isa: a name of `jangtq_isas`, or null for the best. int8: whether rows and
// codebooks are rounded to int8. vendor: whose processor to prefetch for, as CPUID names it, or null for this
// one's; answers do not depend on it. Null when the isa is unknown or the threads cannot be had.
JangtqPool* jangtq_open_pool(int64_t threads, const char* isa, int32_t int8, const char* vendor);
void jangtq_close_pool(JangtqPool* pool);

// Names of the instruction sets that this machine runs, best first, separated by commas.
const char* jangtq_isas();

// Bundle order [out][words] of one expert into the kernel's; both buffers hold padded_out(out) * words.
void jangtq_lay_out(const uint32_t* bundle, uint32_t* laid_out, int64_t out, int64_t words);

// Calls of one pool take turns, whatever threads they come from. `offender` receives the index into expert_ids of
// a foreign expert.
int32_t jangtq_forward(JangtqPool* pool, const JangtqLayer* layer, const JangtqCall* call, int64_t* offender);

}
#pragma GCC visibility pop
