// How codes, rows and sums lie in memory. All kernels and the host's planning agree on this.
//
// A chain is 128 inputs of 16 output features: 8 steps of one tensor-core product. Each lane's share of a chain's
// codes is contiguous: two bits of each code in four words, then, where there are more bits, the third in two words
// of a second plane and the sign in two words of a third. Within a step a lane holds 8 weights, those of
// `multiply_add` in order, in bits of a word that two steps share: see read_code's caller in rows.cu.
//
// A row is split into two halves a value: [step][t][4] words, rows_0 and rows_1 of the high parts, then of the low.
#pragma once

#include "device.cuh"

constexpr int STEP_INPUTS = 16;
constexpr int CHAIN_STEPS = 8;
constexpr int CHAIN_INPUTS = STEP_INPUTS * CHAIN_STEPS;
constexpr int FEATURES = 16;
// Chains whose products are added by the tensor cores; the sums of segments are added in order, in float32. So the
// sum for a feature and a row has one order, whichever kernel computes it and for however many rows.
constexpr int SEGMENT_CHAINS = 3;
constexpr int LARGEST_SIZE = 8192;
constexpr int MOST_SEGMENTS = (LARGEST_SIZE / CHAIN_INPUTS + SEGMENT_CHAINS - 1) / SEGMENT_CHAINS;

// Rows of one expert that a kernel computes together.
constexpr int FEW_ROWS = 8;
constexpr int MANY_ROWS = 32;

__device__ __forceinline__ constexpr int chain_words(int bits) { return 32 * (bits == 2 ? 4 : bits == 3 ? 6 : 8); }

// Magnitudes of answers as integers: those of an answer that is not a number are above infinity's.
constexpr int ANSWER_BITS = 26;

// Pairs of one expert computed together.
struct TilePairs {
  int expert;
  int first;
  int count;
};

// One projection of all experts: codes in the order above, norms [experts][16 * tiles] with the scale of the levels.
struct Projection {
  const uint32_t* codes;
  const float* norms;
  int tiles;
  int chains;
  int features;
  uint32_t levels[2][4];  // of each term: low bytes of eight halves in two words, then their high bytes
};
