// See kernels.h.
#include "kernels.h"

#include <algorithm>
#include <cstring>

namespace jangtq::cuda {

namespace {

constexpr int64_t kMostFewWarps = 8;

int64_t few_threads(const JangtqGpuMatrix& matrix) {
    return 32 * std::min(ceil_div(chains_of(matrix), kSegmentChains), kMostFewWarps);
}

}  // namespace

Projection::Projection(const JangtqGpuMatrix& matrix)
    : codes(matrix.codes),
      norms(matrix.norms),
      tiles(static_cast<int32_t>(tiles_of(matrix))),
      chains(static_cast<int32_t>(chains_of(matrix))),
      features(static_cast<int32_t>(matrix.out)) {
    std::memcpy(levels, matrix.levels, sizeof levels);
}

void Kernels::load_row_kernels(const void* image) {
    Handle module;
    driver_.check(driver_.module_load(&module, image), "loading the kernels of rows");
    rotate_ = find(module, "rotate_rows");
    lay_out_ = find(module, "lay_out_codes");
}

void Kernels::load(int64_t bits, int64_t terms, const void* gate_up, const void* down) {
    Handle first, second;
    driver_.check(driver_.module_load(&first, gate_up), "loading the kernels of gate and up");
    driver_.check(driver_.module_load(&second, down), "loading the kernels of down");
    of_bits_[{bits, terms}] = {find(first, "gate_up_few"), find(first, "gate_up_many"), find(second, "down_few"),
                               find(second, "down_many")};
}

void Kernels::rotate(Handle stream, DevicePointer rows, int64_t count, DevicePointer signs, int64_t size,
                     const SplitRows& into) const {
    int32_t inputs = static_cast<int32_t>(size), chains = static_cast<int32_t>(ceil_div(size, kChainInputs));
    SplitRows to = into;
    void* arguments[] = {&rows, &signs, &inputs, &chains, &to.halves, &to.inverses};
    launch(stream, rotate_, {count, 1, 1}, kRotationThreads, arguments);
}

void Kernels::lay_out(Handle stream, DevicePointer bundle, int64_t experts, const JangtqGpuMatrix& matrix) const {
    int32_t features = static_cast<int32_t>(matrix.out), inputs = static_cast<int32_t>(matrix.in);
    int32_t bits = static_cast<int32_t>(matrix.bits);
    int32_t words = static_cast<int32_t>(ceil_div(matrix.in, 32 / matrix.bits));
    DevicePointer codes = matrix.codes;
    void* arguments[] = {&bundle, &features, &inputs, &words, &bits, &codes};
    launch(stream, lay_out_, {chains_of(matrix), tiles_of(matrix), experts}, 32, arguments);
}

void Kernels::gate_up(Handle stream, const SplitRows& rows, DevicePointer pair_rows, const Tiles& tiles,
                      const JangtqGpuLayer& layer, DevicePointer activated) const {
    const OfBits& kernels = of(layer.gate);
    Projection gate(layer.gate), up(layer.up);
    SplitRows from = rows;
    DevicePointer table = tiles.table;
    void* arguments[] = {&from.halves, &from.inverses, &pair_rows, &table, &gate, &up, &activated};
    if (tiles.many) {
        launch(stream, kernels.gate_up_many, {ceil_div(gate.tiles, kManyWarps), tiles.count, 1}, 32 * kManyWarps,
               arguments);
    } else {
        launch(stream, kernels.gate_up_few, {gate.tiles, tiles.count, 1}, few_threads(layer.gate), arguments);
    }
}

void Kernels::down(Handle stream, const SplitRows& rows, const Tiles& tiles, const JangtqGpuLayer& layer,
                   const Answers& answers) const {
    const OfBits& kernels = of(layer.down);
    Projection down(layer.down);
    SplitRows from = rows;
    Answers to = answers;
    DevicePointer table = tiles.table;
    void* arguments[] = {&from.halves, &from.inverses, &table, &down, &to};
    if (tiles.many) {
        launch(stream, kernels.down_many, {ceil_div(down.tiles, 2 * kManyWarps), tiles.count, 1}, 32 * kManyWarps,
               arguments);
    } else {
        launch(stream, kernels.down_few, {down.tiles, tiles.count, 1}, few_threads(layer.down), arguments);
    }
}

const Kernels::OfBits& Kernels::of(const JangtqGpuMatrix& matrix) const {
    const auto found = of_bits_.find({matrix.bits, matrix.terms});
    if (found == of_bits_.end()) throw DriverError("the kernels of these bits were not loaded");
    return found->second;
}

Handle Kernels::find(Handle module, const char* name) const {
    Handle function;
    driver_.check(driver_.module_function(&function, module, name), name);
    return function;
}

void Kernels::launch(Handle stream, Handle function, const int64_t (&grid)[3], int64_t threads,
                     void** arguments) const {
    driver_.check(driver_.launch(function, static_cast<unsigned>(grid[0]), static_cast<unsigned>(grid[1]),
                                 static_cast<unsigned>(grid[2]), static_cast<unsigned>(threads), 1, 1, 0, stream,
                                 arguments, nullptr),
                  "starting a kernel");
}

}  // namespace jangtq::cuda
