// Turns packed codes into the halves that tensor cores multiply. BITS and TERMS are set by whoever compiles.
//
// A level is one half where halves hold it to float32's accuracy, as for two bits after scaling, and else the sum of
// two (TERMS). Levels are looked up eight bytes at a time: a code selects the low and the high byte of its half.
#pragma once

#include "layout.cuh"

// One lane's codes of a chain.
struct ChainCodes {
  uint4 low;
  uint2 third;
  uint2 sign;
};

__device__ __forceinline__ ChainCodes load_chain(const uint32_t* codes, int lane) {
  ChainCodes loaded = {};
  loaded.low = reinterpret_cast<const uint4*>(codes)[lane];
  if (BITS >= 3) loaded.third = reinterpret_cast<const uint2*>(codes + 128)[lane];
  if (BITS == 4) loaded.sign = reinterpret_cast<const uint2*>(codes + 192)[lane];
  return loaded;
}

__device__ __forceinline__ uint32_t word_of(const uint4& words, int i) {
  return i == 0 ? words.x : i == 1 ? words.y : i == 2 ? words.z : words.w;
}

// Eight indices of 3 bits, a nibble each; `step` must be known when compiled.
__device__ __forceinline__ uint32_t select_levels(const ChainCodes& codes, int step) {
  const uint32_t low = word_of(codes.low, step / 2) >> (step % 2 * 2) & 0x33333333u;
  const uint32_t word = step < 4 ? codes.third.x : codes.third.y;
  const int moved = 2 - step % 4;
  return low | ((moved >= 0 ? word << (moved & 31) : word >> (-moved & 31)) & 0x44444444u);
}

// Of eight levels: low and high bytes apart, then side by side, then the sign where it is a bit of the code.
__device__ __forceinline__ void look_up(
    const uint32_t (&levels)[4], uint32_t selected, const ChainCodes& codes, int step, uint32_t (&weights)[4]) {
#pragma unroll
  for (int pair = 0; pair < 2; ++pair) {
    const uint32_t selector = selected >> (16 * pair);
    const uint32_t low = pick_bytes(levels[0], levels[1], selector);
    const uint32_t high = pick_bytes(levels[2], levels[3], selector);
    weights[2 * pair] = pick_bytes(low, high, 0x5140);
    weights[2 * pair + 1] = pick_bytes(low, high, 0x7362);
  }
  if (BITS == 4) {
    const uint32_t signs = step < 4 ? codes.sign.x : codes.sign.y;
#pragma unroll
    for (int i = 0; i < 4; ++i) weights[i] ^= signs << (step % 4 * 4 + i) & 0x80008000u;
  }
}

// Of four levels, whose eight bytes fit one look-up: a code c at a byte becomes the selectors c and c + 4.
__device__ __forceinline__ void look_up_pairs(
    const uint32_t (&levels)[4], const ChainCodes& codes, int step, uint32_t (&weights)[4]) {
#pragma unroll
  for (int pair = 0; pair < 2; ++pair) {
    const uint32_t four = word_of(codes.low, step / 2) >> (step % 2 * 4 + pair * 2) & 0x03030303u;
    const uint32_t selectors = four * 0x11u + 0x40404040u;
    weights[2 * pair] = pick_bytes(levels[0], levels[2], selectors);
    weights[2 * pair + 1] = pick_bytes(levels[0], levels[2], selectors >> 16);
  }
}

// The weights of one step and one feature tile, term by term.
struct StepWeights {
  uint32_t terms[TERMS][4];
};

__device__ __forceinline__ StepWeights decode(const ChainCodes& codes, int step, const Projection& of) {
  StepWeights weights;
  const uint32_t selected = BITS == 2 ? 0 : select_levels(codes, step);
#pragma unroll
  for (int term = 0; term < TERMS; ++term) {
    if (BITS == 2) {
      look_up_pairs(of.levels[term], codes, step, weights.terms[term]);
    } else {
      look_up(of.levels[term], selected, codes, step, weights.terms[term]);
    }
  }
  return weights;
}

// `row` holds the high and the low parts of one step. What is left out, low by low, is below float32's accuracy.
__device__ __forceinline__ void add_step(float (&sums)[4], const StepWeights& weights, const uint4& row) {
  multiply_add(sums, weights.terms[0], row.x, row.y);
  multiply_add(sums, weights.terms[0], row.z, row.w);
  if (TERMS == 2) multiply_add(sums, weights.terms[TERMS - 1], row.x, row.y);
}
