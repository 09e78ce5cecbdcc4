// The kernels of source/*.cu as the host calls them. Knows no planning.
#pragma once

#include <map>
#include <utility>

#include "driver.h"
#include "gpu.h"

namespace jangtq::cuda {

constexpr int64_t kFeatures = 16, kChainInputs = 128, kSegmentChains = 3, kManyWarps = 8, kRotationThreads = 512;
// A value of a row is two halves; a row is as long as its chains.
constexpr int64_t kChainBytes = kChainInputs * 4;

inline int64_t ceil_div(int64_t size, int64_t step) { return (size + step - 1) / step; }
inline int64_t tiles_of(const JangtqGpuMatrix& matrix) { return ceil_div(matrix.out, kFeatures); }
inline int64_t chains_of(const JangtqGpuMatrix& matrix) { return ceil_div(matrix.in, kChainInputs); }

// As Projection of source/layout.cuh.
struct Projection {
    explicit Projection(const JangtqGpuMatrix& matrix);
    DevicePointer codes;
    DevicePointer norms;
    int32_t tiles, chains, features;
    uint32_t levels[2][4];
};

// As Answers of source/down.cu.
struct Answers {
    DevicePointer pair_rows, pair_weights, scales, sums, magnitudes;
};

// Rows in halves on the GPU, and what undoes the scale of each.
struct SplitRows {
    DevicePointer halves, inverses;
};

struct Tiles {
    DevicePointer table;
    int64_t count;
    bool many;
};

class Kernels {
   public:
    explicit Kernels(const Driver& driver) : driver_(driver) {}
    void load_row_kernels(const void* image);
    void load(int64_t bits, int64_t terms, const void* gate_up, const void* down);

    void rotate(Handle stream, DevicePointer rows, int64_t count, DevicePointer signs, int64_t size,
                const SplitRows& into) const;
    void lay_out(Handle stream, DevicePointer bundle, int64_t experts, const JangtqGpuMatrix& matrix) const;
    void gate_up(Handle stream, const SplitRows& rows, DevicePointer pair_rows, const Tiles& tiles,
                 const JangtqGpuLayer& layer, DevicePointer activated) const;
    void down(Handle stream, const SplitRows& rows, const Tiles& tiles, const JangtqGpuLayer& layer,
              const Answers& answers) const;

   private:
    struct OfBits {
        Handle gate_up_few, gate_up_many, down_few, down_many;
    };
    const OfBits& of(const JangtqGpuMatrix& matrix) const;
    Handle find(Handle module, const char* name) const;
    void launch(Handle stream, Handle function, const int64_t (&grid)[3], int64_t threads, void** arguments) const;

    const Driver& driver_;
    Handle rotate_ = nullptr, lay_out_ = nullptr;
    std::map<std::pair<int64_t, int64_t>, OfBits> of_bits_;
};

}  // namespace jangtq::cuda
