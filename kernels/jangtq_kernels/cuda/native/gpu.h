// The C interface of the CUDA backend: a GPU with its kernels, memory on it, and the forward over a layer's experts.
#pragma once

#include <cstddef>
#include <cstdint>

#include "experts.h"

#pragma GCC visibility push(default)
extern "C" {

struct JangtqGpu;

struct JangtqGpuInfo {
    char name[128];
    int32_t major;  // compute capability
    int32_t minor;
    uint64_t free_bytes;
    uint64_t total_bytes;
};

// One projection of several experts on the GPU, in the order of source/layout.cuh.
struct JangtqGpuMatrix {
    uint64_t codes;
    uint64_t norms;         // float32 [experts][16 * tiles], the scale of the levels included
    uint32_t levels[2][4];  // of each term: low bytes of eight halves in two words, then their high bytes
    int64_t out;
    int64_t in;
    int64_t bits;
    int64_t terms;
};

struct JangtqGpuLayer {
    JangtqGpuMatrix gate;  // gate and up: equal out, in, bits and terms
    JangtqGpuMatrix up;
    JangtqGpuMatrix down;
    uint64_t hidden_signs;        // float32 [hidden]
    uint64_t intermediate_signs;  // float32 [intermediate]
    int64_t experts;
    const int32_t* positions;  // in host memory: position of each expert id here, -1 where it is not held
    int64_t position_count;
};

// Beyond those of JangtqStatus; jangtq_gpu_error has the driver's words.
enum : int32_t { JANGTQ_GPU_FAILED = 100 };

// driver: path or name of the driver's library. Null, with the reason in `message`, where there is no such GPU.
JangtqGpu* jangtq_gpu_open(const char* driver, int32_t device, char* message, int64_t message_bytes);
// Memory that was taken goes with the process, or by jangtq_gpu_free before this.
void jangtq_gpu_close(JangtqGpu* gpu);
const char* jangtq_gpu_error(JangtqGpu* gpu);

// The functions below return JANGTQ_OK or JANGTQ_GPU_FAILED.
int32_t jangtq_gpu_describe(JangtqGpu* gpu, JangtqGpuInfo* info);
// images: of rows.cu where bits is 0, else of gate_up.cu and down.cu compiled for these bits and terms.
int32_t jangtq_gpu_load_row_kernels(JangtqGpu* gpu, const void* image);
int32_t jangtq_gpu_load_kernels(JangtqGpu* gpu, int64_t bits, int64_t terms, const void* gate_up, const void* down);
int32_t jangtq_gpu_take(JangtqGpu* gpu, uint64_t bytes, uint64_t* memory);
int32_t jangtq_gpu_free(JangtqGpu* gpu, uint64_t memory);
int32_t jangtq_gpu_copy_in(JangtqGpu* gpu, uint64_t to, const void* from, uint64_t bytes);
// Codes of the bundle, uint32 [experts][out][words] in host memory, into the kernels' order on the GPU.
int32_t jangtq_gpu_lay_out(JangtqGpu* gpu, const uint32_t* bundle, int64_t experts, const JangtqGpuMatrix* matrix);

// As jangtq_forward: a JangtqStatus or JANGTQ_GPU_FAILED. Calls of one GPU take turns.
int32_t jangtq_gpu_forward(JangtqGpu* gpu, const JangtqGpuLayer* layer, const JangtqCall* call, int64_t* offender);
// For measurements: the kernels of the call answered last, `times` over, on these layers of its shape in turn and
// without a wait; nothing comes back.
int32_t jangtq_gpu_repeat(JangtqGpu* gpu, const JangtqGpuLayer* const* layers, int64_t count, int64_t times);

}
#pragma GCC visibility pop
