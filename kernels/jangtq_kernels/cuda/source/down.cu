// Kernels: down of pairs of a row and an expert, weighted, rounded to the row's grid and added. Know no gate.
#include "few_rows.cuh"
#include "many_rows.cuh"

// Where each pair's answer goes. sums: [rows][features]; magnitudes: [rows], as grid.magnitudes_of.
struct Answers {
  const int* pair_rows;
  const float* pair_weights;
  const float* scales;  // of the rows' grids
  int* sums;
  uint32_t* magnitudes;
};

__device__ __forceinline__ uint32_t magnitude_of(float answer) { return __float_as_uint(answer) & 0x7fffffffu; }

// As grid.py defines it. What does not fit is cut off, for the conversion's sake, and so is NaN: magnitudes tell.
__device__ __forceinline__ int on_grid(float answer, float scale) {
  constexpr float MOST = 1 << ANSWER_BITS;
  const float steps = __fmul_rn(answer, scale);
  const float above = steps > -MOST ? steps : -MOST;
  return __float2int_rn(above < MOST ? above : MOST);
}

__device__ __forceinline__ float answer_of(float total, float norm, float inverse, float weight) {
  return __fmul_rn(weight, __fmul_rn(__fmul_rn(total, norm), inverse));
}

// Grid: feature tiles, pair tiles. rows: one a pair.
extern "C" __global__ void __launch_bounds__(MOST_FEW_THREADS, FEW_BLOCKS) down_few(
    const uint4* rows, const float* inverses, const TilePairs* tiles, const __grid_constant__ Projection down,
    const __grid_constant__ Answers answers) {
  __shared__ SegmentSums<1> kept;
  const TilePairs tile = tiles[blockIdx.y];
  const int column = min(static_cast<int>(threadIdx.x % 32 / 4), tile.count - 1);
  const Projection one[1] = {down};
  add_segments(
      one, tile.expert, blockIdx.x, rows + static_cast<size_t>(tile.first + column) * down.chains * (CHAIN_STEPS * 4),
      tile.count, kept);
  __syncthreads();
  for (int i = threadIdx.x; i < FEW_ROWS * FEATURES; i += blockDim.x) {
    const int row = i / FEATURES;
    const int feature = blockIdx.x * FEATURES + i % FEATURES;
    const bool is_wanted = row < tile.count && feature < down.features;
    const int pair = tile.first + min(row, tile.count - 1);
    const int target = answers.pair_rows[pair];
    uint32_t magnitude = 0;
    if (is_wanted) {
      const float total = total_of(kept, 0, down.chains, row, i % FEATURES);
      const float norm = down.norms[static_cast<size_t>(tile.expert) * down.tiles * FEATURES + feature];
      const float answer = answer_of(total, norm, inverses[pair], answers.pair_weights[pair]);
      magnitude = magnitude_of(answer);
      atomicAdd(
          &answers.sums[static_cast<size_t>(target) * down.features + feature], on_grid(answer, answers.scales[target]));
    }
    for (int mask = 8; mask > 0; mask /= 2) magnitude = largest_across(magnitude, mask);
    if (is_wanted && i % FEATURES == 0) atomicMax(&answers.magnitudes[target], magnitude);
  }
}

// Grid: groups of 2 * MANY_WARPS feature tiles, pair tiles. A warp whose second tile is missing computes its first
// twice and gives it once; one without tiles computes the last and gives nothing.
extern "C" __global__ void __launch_bounds__(MANY_THREADS, 2) down_many(
    const uint4* rows, const float* inverses, const TilePairs* tiles, const __grid_constant__ Projection down,
    const __grid_constant__ Answers answers) {
  __shared__ RowStages stages;
  __shared__ int sources[MANY_ROWS];
  const TilePairs tile = tiles[blockIdx.y];
  if (threadIdx.x < MANY_ROWS) {
    sources[threadIdx.x] = tile.first + min(static_cast<int>(threadIdx.x), tile.count - 1);
  }
  __syncthreads();
  const int features[2] = {
      static_cast<int>(blockIdx.x * MANY_WARPS + threadIdx.x / 32) * 2,
      static_cast<int>(blockIdx.x * MANY_WARPS + threadIdx.x / 32) * 2 + 1};
  const uint32_t* codes[2];
#pragma unroll
  for (int p = 0; p < 2; ++p) {
    const size_t held = static_cast<size_t>(tile.expert) * down.tiles + min(features[p], down.tiles - 1);
    codes[p] = down.codes + held * down.chains * chain_words(BITS);
  }
  const TileSums sums = multiply_tiles(stages, rows, sources, tile.count, codes, down, down);
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int column = 0; column < ROW_GROUPS * 2; ++column) {
    const int row = column / 2 * 8 + lane % 4 * 2 + column % 2;
    const int pair = sources[min(row, tile.count - 1)];
    const int target = answers.pair_rows[pair];
    uint32_t magnitude = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int feature = features[i / 2] * FEATURES + lane / 4 + i % 2 * 8;
      if (row < tile.count && feature < down.features) {
        const float norm = down.norms[static_cast<size_t>(tile.expert) * down.tiles * FEATURES + feature];
        const float total = sums.of[i / 2][column / 2][column % 2 + i % 2 * 2];
        const float answer = answer_of(total, norm, inverses[pair], answers.pair_weights[pair]);
        magnitude = max(magnitude, magnitude_of(answer));
        atomicAdd(
            &answers.sums[static_cast<size_t>(target) * down.features + feature],
            on_grid(answer, answers.scales[target]));
      }
    }
    for (int mask = 4; mask < 32; mask *= 2) magnitude = largest_across(magnitude, mask);
    if (lane / 4 == 0 && row < tile.count) atomicMax(&answers.magnitudes[target], magnitude);
  }
}
