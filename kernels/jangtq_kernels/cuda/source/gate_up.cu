// Kernels: gate, up and SwiGLU of pairs of a row and an expert. Know nothing of down.
#include "few_rows.cuh"
#include "many_rows.cuh"

__device__ __forceinline__ float activate(float gated, float raised) {
  return __fmul_rn(__fdiv_rn(gated, __fadd_rn(1.0f, expf(-gated))), raised);
}

__device__ __forceinline__ float scaled(float total, float norm, float inverse) {
  return __fmul_rn(__fmul_rn(total, norm), inverse);
}

// Grid: feature tiles, pair tiles. activated: [pairs][features].
extern "C" __global__ void __launch_bounds__(MOST_FEW_THREADS, FEW_BLOCKS) gate_up_few(
    const uint4* rows, const float* inverses, const int* pair_rows, const TilePairs* tiles,
    const __grid_constant__ Projection gate, const __grid_constant__ Projection up, float* activated) {
  __shared__ SegmentSums<2> kept;
  const TilePairs tile = tiles[blockIdx.y];
  const int column = min(static_cast<int>(threadIdx.x % 32 / 4), tile.count - 1);
  const int source = pair_rows[tile.first + column];
  const Projection both[2] = {gate, up};
  add_segments(
      both, tile.expert, blockIdx.x, rows + static_cast<size_t>(source) * gate.chains * (CHAIN_STEPS * 4), tile.count,
      kept);
  __syncthreads();
  for (int i = threadIdx.x; i < FEW_ROWS * FEATURES; i += blockDim.x) {
    const int row = i / FEATURES;
    const int feature = blockIdx.x * FEATURES + i % FEATURES;
    if (row < tile.count && feature < gate.features) {
      const float inverse = inverses[pair_rows[tile.first + row]];
      const size_t norm = static_cast<size_t>(tile.expert) * gate.tiles * FEATURES + feature;
      const float gated = scaled(total_of(kept, 0, gate.chains, row, i % FEATURES), gate.norms[norm], inverse);
      const float raised = scaled(total_of(kept, 1, gate.chains, row, i % FEATURES), up.norms[norm], inverse);
      activated[static_cast<size_t>(tile.first + row) * gate.features + feature] = activate(gated, raised);
    }
  }
}

// Grid: groups of MANY_WARPS feature tiles, pair tiles.
extern "C" __global__ void __launch_bounds__(MANY_THREADS, 2) gate_up_many(
    const uint4* rows, const float* inverses, const int* pair_rows, const TilePairs* tiles,
    const __grid_constant__ Projection gate, const __grid_constant__ Projection up, float* activated) {
  __shared__ RowStages stages;
  __shared__ int sources[MANY_ROWS];
  const TilePairs tile = tiles[blockIdx.y];
  if (threadIdx.x < MANY_ROWS) {
    sources[threadIdx.x] = pair_rows[tile.first + min(static_cast<int>(threadIdx.x), tile.count - 1)];
  }
  __syncthreads();
  const int features = min(static_cast<int>(blockIdx.x * MANY_WARPS + threadIdx.x / 32), gate.tiles - 1);
  const size_t start = (static_cast<size_t>(tile.expert) * gate.tiles + features) * gate.chains * chain_words(BITS);
  const uint32_t* const codes[2] = {gate.codes + start, up.codes + start};
  const TileSums sums = multiply_tiles(stages, rows, sources, tile.count, codes, gate, up);
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < ROW_GROUPS * 4; ++i) {
    const int row = i / 4 * 8 + lane % 4 * 2 + i % 2;
    const int feature = features * FEATURES + lane / 4 + i % 4 / 2 * 8;
    if (row < tile.count && feature < gate.features) {
      const float inverse = inverses[sources[row]];
      const size_t norm = static_cast<size_t>(tile.expert) * gate.tiles * FEATURES + feature;
      const float gated = scaled(sums.of[0][i / 4][i % 4], gate.norms[norm], inverse);
      const float raised = scaled(sums.of[1][i / 4][i % 4], up.norms[norm], inverse);
      activated[static_cast<size_t>(tile.first + row) * gate.features + feature] = activate(gated, raised);
    }
  }
}
