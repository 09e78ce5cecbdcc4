// Up to MANY_ROWS rows of one expert: each warp computes two feature tiles for all rows, which the block shares.
#pragma once

#include "decoding.cuh"

constexpr int MANY_WARPS = 8;
constexpr int MANY_THREADS = 32 * MANY_WARPS;
constexpr int ROW_GROUPS = MANY_ROWS / 8;
constexpr int STAGES = 2;
constexpr int STAGE_PIECES = CHAIN_STEPS * MANY_ROWS * 4;

// A chain's values of all rows, [step][row][t]: a quarter of a warp reads 128 contiguous bytes.
struct RowStages {
  uint4 pieces[STAGES][STAGE_PIECES];
};

// sources: of each row of the tile, where its values begin; those beyond the tile's count repeat the last.
__device__ __forceinline__ void begin_chain(
    RowStages& stages, const uint4* rows, const int* sources, int chain, int chains) {
  if (chain < chains) {
    for (int i = threadIdx.x; i < STAGE_PIECES; i += MANY_THREADS) {
      const int row = i / (CHAIN_STEPS * 4);
      const int piece = i % (CHAIN_STEPS * 4);
      const uint4* from = rows + (static_cast<size_t>(sources[row]) * chains + chain) * (CHAIN_STEPS * 4) + piece;
      begin_copy(&stages.pieces[chain % STAGES][(piece / 4 * MANY_ROWS + row) * 4 + piece % 4], from);
    }
  }
  end_group_of_copies();
}

struct TileSums {
  float of[2][ROW_GROUPS][4];
};

__device__ __forceinline__ void add_chain(
    TileSums& sums, const ChainCodes (&codes)[2], const Projection& first, const Projection& second,
    const uint4* pieces, int groups, int lane) {
#pragma unroll
  for (int step = 0; step < CHAIN_STEPS; ++step) {
    const StepWeights weights[2] = {decode(codes[0], step, first), decode(codes[1], step, second)};
#pragma unroll
    for (int group = 0; group < ROW_GROUPS; ++group) {
      if (group < groups) {
        const uint4 row = pieces[(step * MANY_ROWS + group * 8) * 4 + lane];
        add_step(sums.of[0][group], weights[0], row);
        add_step(sums.of[1][group], weights[1], row);
      }
    }
  }
}

__device__ __forceinline__ void close_segment(TileSums& totals, TileSums& segment) {
#pragma unroll
  for (int i = 0; i < 2 * ROW_GROUPS * 4; ++i) {
    float& sum = segment.of[i / (ROW_GROUPS * 4)][i / 4 % ROW_GROUPS][i % 4];
    float& total = totals.of[i / (ROW_GROUPS * 4)][i / 4 % ROW_GROUPS][i % 4];
    total = __fadd_rn(total, sum);
    sum = 0.0f;
  }
}

// codes: of the first chain of the warp's two tiles. Every thread of the block must come here.
__device__ __forceinline__ TileSums multiply_tiles(
    RowStages& stages, const uint4* rows, const int* sources, int count, const uint32_t* const (&codes)[2],
    const Projection& first, const Projection& second) {
  const int lane = threadIdx.x % 32;
  const int chains = first.chains;
  const int groups = (count + 7) / 8;
  TileSums totals = {}, segment = {};
  ChainCodes next[2] = {load_chain(codes[0], lane), load_chain(codes[1], lane)};
  begin_chain(stages, rows, sources, 0, chains);
  for (int chain = 0; chain < chains; ++chain) {
    begin_chain(stages, rows, sources, chain + 1, chains);
    const ChainCodes held[2] = {next[0], next[1]};
    const int following = min(chain + 1, chains - 1) * chain_words(BITS);
    next[0] = load_chain(codes[0] + following, lane);
    next[1] = load_chain(codes[1] + following, lane);
    wait_for_copies<1>();
    __syncthreads();
    add_chain(segment, held, first, second, stages.pieces[chain % STAGES], groups, lane);
    if (chain % SEGMENT_CHAINS == SEGMENT_CHAINS - 1 || chain == chains - 1) close_segment(totals, segment);
    __syncthreads();
  }
  return totals;
}
