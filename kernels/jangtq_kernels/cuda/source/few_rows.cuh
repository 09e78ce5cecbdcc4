// Up to FEW_ROWS rows of one expert: a block's warps share the segments of one or two feature tiles.
#pragma once

#include "decoding.cuh"

constexpr int MOST_FEW_THREADS = 256;
// Blocks that a multiprocessor holds at least: registers are limited to what that leaves each thread.
constexpr int FEW_BLOCKS = BITS == 2 ? 5 : 3;

template <int PROJECTIONS>
struct SegmentSums {
  float of[PROJECTIONS][MOST_SEGMENTS][FEW_ROWS][FEATURES];
};

// codes: of the tile's first chain, of each projection. row: of the row that this lane's column stands for.
template <int PROJECTIONS>
__device__ __forceinline__ void add_segment(
    const Projection (&projections)[PROJECTIONS], const uint32_t* const (&codes)[PROJECTIONS], const uint4* row,
    int segment, int lane, float (&sums)[PROJECTIONS][4]) {
  const int chains = projections[0].chains;
  ChainCodes loaded[PROJECTIONS][SEGMENT_CHAINS];
#pragma unroll
  for (int i = 0; i < SEGMENT_CHAINS; ++i) {
    const int chain = min(segment * SEGMENT_CHAINS + i, chains - 1);
#pragma unroll
    for (int p = 0; p < PROJECTIONS; ++p) loaded[p][i] = load_chain(codes[p] + chain * chain_words(BITS), lane);
  }
#pragma unroll
  for (int i = 0; i < SEGMENT_CHAINS; ++i) {
    const int chain = segment * SEGMENT_CHAINS + i;
    if (chain >= chains) break;
#pragma unroll
    for (int step = 0; step < CHAIN_STEPS; ++step) {
      const uint4 values = row[(chain * CHAIN_STEPS + step) * 4 + lane % 4];
#pragma unroll
      for (int p = 0; p < PROJECTIONS; ++p) add_step(sums[p], decode(loaded[p][i], step, projections[p]), values);
    }
  }
}

// Sums for `count` rows of all segments, in `kept` once every thread has passed the barrier that must follow.
template <int PROJECTIONS>
__device__ __forceinline__ void add_segments(
    const Projection (&projections)[PROJECTIONS], int expert, int tile, const uint4* row, int count,
    SegmentSums<PROJECTIONS>& kept) {
  const int lane = threadIdx.x % 32;
  const int chains = projections[0].chains;
  const uint32_t* codes[PROJECTIONS];
#pragma unroll
  for (int p = 0; p < PROJECTIONS; ++p) {
    codes[p] = projections[p].codes +
               (static_cast<size_t>(expert) * projections[p].tiles + tile) * chains * chain_words(BITS);
  }
  const int segments = (chains + SEGMENT_CHAINS - 1) / SEGMENT_CHAINS;
  for (int segment = threadIdx.x / 32; segment < segments; segment += blockDim.x / 32) {
    float sums[PROJECTIONS][4] = {};
    add_segment(projections, codes, row, segment, lane, sums);
#pragma unroll
    for (int p = 0; p < PROJECTIONS; ++p) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int column = lane % 4 * 2 + i % 2;
        if (column < count) kept.of[p][segment][column][lane / 4 + i / 2 * 8] = sums[p][i];
      }
    }
  }
}

template <int PROJECTIONS>
__device__ __forceinline__ float total_of(
    const SegmentSums<PROJECTIONS>& kept, int projection, int chains, int row, int feature) {
  float total = 0.0f;
  for (int segment = 0; segment * SEGMENT_CHAINS < chains; ++segment) {
    total = __fadd_rn(total, kept.of[projection][segment][row][feature]);
  }
  return total;
}
