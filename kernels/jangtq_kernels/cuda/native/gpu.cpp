// See gpu.h: opens a GPU and computes calls on it.
#include "gpu.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <string>

#include "copies.h"
#include "grid.h"
#include "kernels.h"
#include "memory.h"
#include "pairs.h"

namespace {

using namespace jangtq::cuda;

constexpr int kCapabilityMajor = 75, kCapabilityMinor = 76;  // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*
constexpr int kOldestMajor = 8;                              // the first with the product of 16 x 16 by 16 x 8
// A call of more rows is computed in parts, so that what is between the kernels stays below a gigabyte.
constexpr int64_t kMostRows = 2048;

size_t aligned(int64_t bytes) { return static_cast<size_t>((bytes + 255) / 256 * 256); }

// Where the parts of an upload lie in it.
struct Upload {
    Upload(int64_t rows, int64_t hidden, const Pairs& pairs)
        : scales(aligned(rows * hidden * 4)),
          pair_rows(scales + aligned(rows * 4)),
          pair_weights(pair_rows + aligned(static_cast<int64_t>(pairs.rows.size()) * 4)),
          tiles(pair_weights + aligned(static_cast<int64_t>(pairs.rows.size()) * 4)),
          bytes(tiles + aligned(static_cast<int64_t>(pairs.tiles.size() * sizeof(Tile)))) {}
    size_t scales, pair_rows, pair_weights, tiles, bytes;
};

template <class Value>
void put(char* to, const std::vector<Value>& values) {
    std::memcpy(to, values.data(), values.size() * sizeof(Value));
}

}  // namespace

struct JangtqGpu {
    JangtqGpu(const char* library, int ordinal) : driver(library), kernels(driver) {
        driver.check(driver.init(0), "starting the driver");
        int count = 0;
        driver.check(driver.device_count(&count), "counting GPUs");
        if (ordinal >= count) throw DriverError("there are " + std::to_string(count) + " GPUs");
        driver.check(driver.device_get(&device, ordinal), "finding the GPU");
        driver.check(driver.device_attribute(&major, kCapabilityMajor, device), "asking for the capability");
        driver.check(driver.device_attribute(&minor, kCapabilityMinor, device), "asking for the capability");
        if (major < kOldestMajor)
            throw DriverError("the GPU has compute capability " + std::to_string(major) + "." + std::to_string(minor) +
                              ", 8.0 and newer are needed");
        driver.check(driver.context_retain(&context, device), "opening the GPU");
        enter();
        driver.check(driver.stream_create(&stream, 1), "opening a stream");
    }
    ~JangtqGpu() {
        driver.context_set(context);
        if (stream != nullptr) driver.stream_destroy(stream);
    }
    void enter() const { driver.check(driver.context_set(context), "using the GPU"); }

    Driver driver;
    Kernels kernels;
    int device = 0, major = 0, minor = 0;
    Handle context = nullptr, stream = nullptr;
    std::mutex turn;
    std::string error;
    Pairs pairs;
    PinnedMemory sent{driver}, received{driver};
    DeviceMemory upload{driver}, answers{driver};
    DeviceMemory rows{driver}, row_inverses{driver}, activated{driver}, units{driver}, unit_inverses{driver};
    int64_t row_count = 0;  // of the call whose pairs are held
};

namespace {

// Whatever is thrown becomes a status: nothing may leave a C function.
template <class Work>
int32_t guarded(JangtqGpu* gpu, const Work& work) {
    const std::lock_guard<std::mutex> turn(gpu->turn);
    try {
        gpu->enter();
        return work();
    } catch (const DriverError& error) {
        gpu->error = error.what();
        return JANGTQ_GPU_FAILED;
    } catch (const std::bad_alloc&) {
        return JANGTQ_OUT_OF_MEMORY;
    }
}

void reserve(JangtqGpu& gpu, const JangtqGpuLayer& layer, int64_t rows) {
    const auto pairs = static_cast<int64_t>(gpu.pairs.rows.size());
    gpu.rows.reserve(static_cast<size_t>(rows * chains_of(layer.gate) * kChainBytes));
    gpu.row_inverses.reserve(static_cast<size_t>(rows * 4));
    gpu.activated.reserve(static_cast<size_t>(pairs * layer.gate.out * 4));
    gpu.units.reserve(static_cast<size_t>(pairs * chains_of(layer.down) * kChainBytes));
    gpu.unit_inverses.reserve(static_cast<size_t>(pairs * 4));
    gpu.answers.reserve(static_cast<size_t>(rows * (layer.down.out + 1) * 4));
}

// False where rows are not finite.
bool begin_upload(JangtqGpu& gpu, const JangtqGpuLayer& layer, const JangtqCall& call, int64_t first, int64_t end) {
    const int64_t hidden = layer.gate.in;
    const Upload parts(end - first, hidden, gpu.pairs);
    char* sent = gpu.sent.reserve(parts.bytes);
    const DevicePointer upload = gpu.upload.reserve(parts.bytes);
    if (!copy_finite(reinterpret_cast<float*>(sent), call.rows + first * hidden, (end - first) * hidden)) return false;
    for (int64_t row = first; row < end; ++row) {
        const float scale = jangtq::grid_scale(call.exponents[row]);
        std::memcpy(sent + parts.scales + (row - first) * 4, &scale, sizeof scale);
    }
    put(sent + parts.pair_rows, gpu.pairs.rows);
    put(sent + parts.pair_weights, gpu.pairs.weights);
    put(sent + parts.tiles, gpu.pairs.tiles);
    gpu.driver.check(gpu.driver.begin_copy_in(upload, sent, parts.bytes, gpu.stream), "sending rows to the GPU");
    return true;
}

void begin_kernels(JangtqGpu& gpu, const JangtqGpuLayer& layer, int64_t rows) {
    const Upload parts(rows, layer.gate.in, gpu.pairs);
    const DevicePointer upload = gpu.upload.get(), sums = gpu.answers.get();
    const DevicePointer magnitudes = sums + static_cast<uint64_t>(rows * layer.down.out * 4);
    const DevicePointer pair_rows = upload + parts.pair_rows;
    const Tiles tiles{upload + parts.tiles, static_cast<int64_t>(gpu.pairs.tiles.size()), gpu.pairs.many};
    const SplitRows split{gpu.rows.get(), gpu.row_inverses.get()};
    const SplitRows units{gpu.units.get(), gpu.unit_inverses.get()};
    const auto pairs = static_cast<int64_t>(gpu.pairs.rows.size());
    const auto words = static_cast<size_t>(rows * (layer.down.out + 1));
    gpu.driver.check(gpu.driver.begin_fill(sums, 0, words, gpu.stream), "clearing sums");
    gpu.kernels.rotate(gpu.stream, upload, rows, layer.hidden_signs, layer.gate.in, split);
    gpu.kernels.gate_up(gpu.stream, split, pair_rows, tiles, layer, gpu.activated.get());
    gpu.kernels.rotate(gpu.stream, gpu.activated.get(), pairs, layer.intermediate_signs, layer.down.in, units);
    const Answers answers{pair_rows, upload + parts.pair_weights, upload + parts.scales, sums, magnitudes};
    gpu.kernels.down(gpu.stream, units, tiles, layer, answers);
}

// False where an answer is not finite or needs a grid coarser than there is.
bool find_finest(const uint32_t* magnitudes, int64_t rows, int8_t* finest) {
    bool fits = true;
    for (int64_t row = 0; row < rows; ++row) {
        const int32_t exponent = jangtq::finest_exponent(magnitudes[row]);
        fits &= exponent <= jangtq::kCoarsest;
        finest[row] = static_cast<int8_t>(exponent);
    }
    return fits;
}

int32_t receive(JangtqGpu& gpu, const JangtqGpuLayer& layer, const JangtqCall& call, int64_t first, int64_t end) {
    const int64_t values = (end - first) * layer.down.out;
    const auto bytes = static_cast<size_t>((values + end - first) * 4);
    char* received = gpu.received.reserve(bytes);
    gpu.driver.check(gpu.driver.begin_copy_out(received, gpu.answers.get(), bytes, gpu.stream), "fetching sums");
    gpu.driver.check(gpu.driver.stream_wait(gpu.stream), "computing");
    copy_bytes(reinterpret_cast<char*>(call.sums + first * layer.down.out), received, values * 4);
    const auto* magnitudes = reinterpret_cast<const uint32_t*>(received) + values;
    return find_finest(magnitudes, end - first, call.finest + first) ? JANGTQ_OK : JANGTQ_ANSWERS_OUT_OF_RANGE;
}

int32_t forward_part(JangtqGpu& gpu, const JangtqGpuLayer& layer, const JangtqCall& call, int64_t first, int64_t end,
                     int64_t* offender) {
    const int32_t status = gpu.pairs.plan(layer, call, first, end, offender);
    if (status != JANGTQ_OK) return status;
    gpu.row_count = end - first;
    reserve(gpu, layer, end - first);
    if (!begin_upload(gpu, layer, call, first, end)) return JANGTQ_ROWS_NOT_FINITE;
    if (gpu.pairs.rows.empty()) {
        std::fill_n(call.sums + first * layer.down.out, (end - first) * layer.down.out, 0);
        std::fill_n(call.finest + first, end - first, static_cast<int8_t>(jangtq::kFinest));
        gpu.driver.check(gpu.driver.stream_wait(gpu.stream), "sending rows to the GPU");
        return JANGTQ_OK;
    }
    begin_kernels(gpu, layer, end - first);
    return receive(gpu, layer, call, first, end);
}

}  // namespace

extern "C" {

JangtqGpu* jangtq_gpu_open(const char* driver, int32_t device, char* message, int64_t message_bytes) {
    try {
        return new JangtqGpu(driver, device);
    } catch (const std::exception& error) {
        std::snprintf(message, static_cast<size_t>(message_bytes), "%s", error.what());
        return nullptr;
    }
}

void jangtq_gpu_close(JangtqGpu* gpu) { delete gpu; }

const char* jangtq_gpu_error(JangtqGpu* gpu) { return gpu->error.c_str(); }

int32_t jangtq_gpu_describe(JangtqGpu* gpu, JangtqGpuInfo* info) {
    return guarded(gpu, [=]() -> int32_t {
        size_t free = 0, total = 0;
        gpu->driver.check(gpu->driver.device_name(info->name, sizeof info->name, gpu->device), "asking for the name");
        gpu->driver.check(gpu->driver.memory_info(&free, &total), "asking for the memory");
        info->major = gpu->major;
        info->minor = gpu->minor;
        info->free_bytes = free;
        info->total_bytes = total;
        return JANGTQ_OK;
    });
}

int32_t jangtq_gpu_load_row_kernels(JangtqGpu* gpu, const void* image) {
    return guarded(gpu, [=]() -> int32_t {
        gpu->kernels.load_row_kernels(image);
        return JANGTQ_OK;
    });
}

int32_t jangtq_gpu_load_kernels(JangtqGpu* gpu, int64_t bits, int64_t terms, const void* gate_up, const void* down) {
    return guarded(gpu, [=]() -> int32_t {
        gpu->kernels.load(bits, terms, gate_up, down);
        return JANGTQ_OK;
    });
}

int32_t jangtq_gpu_take(JangtqGpu* gpu, uint64_t bytes, uint64_t* memory) {
    return guarded(gpu, [=]() -> int32_t {
        gpu->driver.check(gpu->driver.memory_take(memory, bytes), "taking memory on the GPU");
        return JANGTQ_OK;
    });
}

int32_t jangtq_gpu_free(JangtqGpu* gpu, uint64_t memory) {
    return guarded(gpu, [=]() -> int32_t {
        gpu->driver.check(gpu->driver.memory_free(memory), "giving memory back");
        return JANGTQ_OK;
    });
}

int32_t jangtq_gpu_copy_in(JangtqGpu* gpu, uint64_t to, const void* from, uint64_t bytes) {
    return guarded(gpu, [=]() -> int32_t {
        gpu->driver.check(gpu->driver.begin_copy_in(to, from, bytes, gpu->stream), "copying to the GPU");
        gpu->driver.check(gpu->driver.stream_wait(gpu->stream), "copying to the GPU");
        return JANGTQ_OK;
    });
}

int32_t jangtq_gpu_lay_out(JangtqGpu* gpu, const uint32_t* bundle, int64_t experts, const JangtqGpuMatrix* matrix) {
    return guarded(gpu, [=]() -> int32_t {
        const int64_t words = matrix->out * ceil_div(matrix->in, 32 / matrix->bits);
        DeviceMemory copied(gpu->driver);
        copied.reserve(static_cast<size_t>(experts * words * 4));
        // On the stream of the kernel: a copy outside it may return before its last part has arrived.
        const auto bytes = static_cast<size_t>(experts * words * 4);
        gpu->driver.check(gpu->driver.begin_copy_in(copied.get(), bundle, bytes, gpu->stream), "copying codes");
        gpu->kernels.lay_out(gpu->stream, copied.get(), experts, *matrix);
        gpu->driver.check(gpu->driver.stream_wait(gpu->stream), "laying out codes");
        return JANGTQ_OK;
    });
}

int32_t jangtq_gpu_forward(JangtqGpu* gpu, const JangtqGpuLayer* layer, const JangtqCall* call, int64_t* offender) {
    return guarded(gpu, [=]() -> int32_t {
        for (int64_t first = 0; first < call->row_count; first += kMostRows) {
            const int64_t end = std::min(first + kMostRows, call->row_count);
            const int32_t status = forward_part(*gpu, *layer, *call, first, end, offender);
            if (status != JANGTQ_OK) return status;
        }
        return JANGTQ_OK;
    });
}

int32_t jangtq_gpu_repeat(JangtqGpu* gpu, const JangtqGpuLayer* const* layers, int64_t count, int64_t times) {
    return guarded(gpu, [=]() -> int32_t {
        for (int64_t i = 0; i < times; ++i) begin_kernels(*gpu, *layers[i % count], gpu->row_count);
        gpu->driver.check(gpu->driver.stream_wait(gpu->stream), "computing");
        return JANGTQ_OK;
    });
}

}
