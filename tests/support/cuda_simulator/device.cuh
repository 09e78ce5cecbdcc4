// Takes the place of source/device.cuh: the same functions and CUDA's own words, for a C++ compiler.
#pragma once

#include "fibers.hpp"

#include <cmath>
#include <cstdint>
#include <cstring>

#define __global__
#define __device__
#define __forceinline__ inline
#define __grid_constant__
#define __launch_bounds__(...)
#define __shared__ static __attribute__((section("cuda_shared")))
#define threadIdx (simulator::position().thread)
#define blockIdx (simulator::position().block)
#define blockDim (simulator::launch().block)
#define gridDim (simulator::launch().grid)
#define __syncthreads() simulator::wait_at_barrier(__LINE__)

struct uint2 {
  uint32_t x, y;
};
struct alignas(16) uint4 {
  uint32_t x, y, z, w;
};

using std::size_t;

inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
inline uint32_t max(uint32_t a, uint32_t b) { return a > b ? a : b; }
inline int __clz(int value) { return __builtin_clz(static_cast<uint32_t>(value)); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float a) { return std::sqrt(a); }
inline int __float2int_rn(float a) { return static_cast<int>(std::nearbyint(a)); }
inline uint32_t __float_as_uint(float a) {
  uint32_t bits;
  std::memcpy(&bits, &a, 4);
  return bits;
}
inline float __uint_as_float(uint32_t bits) {
  float a;
  std::memcpy(&a, &bits, 4);
  return a;
}
inline int atomicAdd(int* to, int value) {
  const int before = *to;
  *to = static_cast<int>(static_cast<uint32_t>(before) + static_cast<uint32_t>(value));
  return before;
}
inline uint32_t atomicMax(uint32_t* to, uint32_t value) {
  const uint32_t before = *to;
  *to = max(before, value);
  return before;
}

inline uint32_t pick_bytes(uint32_t low, uint32_t high, uint32_t selector) {
  const uint64_t both = uint64_t{high} << 32 | low;
  uint32_t picked = 0;
  for (int i = 0; i < 4; ++i) picked |= static_cast<uint32_t>(both >> 8 * (selector >> 4 * i & 7) & 0xff) << 8 * i;
  return picked;
}

inline uint32_t half_bits(float value) {
  const _Float16 half = static_cast<_Float16>(value);
  uint16_t bits;
  std::memcpy(&bits, &half, 2);
  return bits;
}

inline float half_value(uint32_t bits) {
  const auto narrow = static_cast<uint16_t>(bits);
  _Float16 half;
  std::memcpy(&half, &narrow, 2);
  return static_cast<float>(half);
}

struct Fragments {
  uint32_t weights[4];
  uint32_t rows[2];
  float sums[4];
};

// The whole product of a warp, from what each lane holds into what each lane gets.
inline void multiply_fragments(unsigned char (&lanes)[32][simulator::PAYLOAD_BYTES]) {
  float weights[16][16], rows[16][8];
  for (int lane = 0; lane < 32; ++lane) {
    const auto& held = *reinterpret_cast<const Fragments*>(lanes[lane]);
    for (int i = 0; i < 8; ++i) {
      const uint32_t bits = held.weights[i / 2] >> 16 * (i % 2) & 0xffff;
      weights[lane / 4 + i / 2 % 2 * 8][lane % 4 * 2 + i % 2 + i / 4 * 8] = half_value(bits);
    }
    for (int i = 0; i < 4; ++i) {
      rows[lane % 4 * 2 + i % 2 + i / 2 * 8][lane / 4] = half_value(held.rows[i / 2] >> 16 * (i % 2) & 0xffff);
    }
  }
  for (int lane = 0; lane < 32; ++lane) {
    auto& held = *reinterpret_cast<Fragments*>(lanes[lane]);
    for (int i = 0; i < 4; ++i) {
      const int feature = lane / 4 + i / 2 * 8, row = lane % 4 * 2 + i % 2;
      for (int k = 0; k < 16; ++k) held.sums[i] += weights[feature][k] * rows[k][row];
    }
  }
}

inline void multiply_add(float (&sums)[4], const uint32_t (&weights)[4], uint32_t rows_0, uint32_t rows_1) {
  Fragments held = {{weights[0], weights[1], weights[2], weights[3]}, {rows_0, rows_1}, {sums[0], sums[1], sums[2], sums[3]}};
  simulator::exchange(&held, sizeof held, "multiply_add", __LINE__, multiply_fragments);
  std::memcpy(sums, held.sums, sizeof held.sums);
}

template <class Value>
Value shuffled(Value value, int mask) {
  Value all[32];
  simulator::gather(&value, sizeof value, all, "shuffle");
  return all[simulator::lane() ^ mask];
}

inline float shuffle_xor(float value, int mask) { return shuffled(value, mask); }
inline uint32_t largest_across(uint32_t value, int mask) { return max(value, shuffled(value, mask)); }

inline void begin_copy(uint4* shared, const uint4* global) { simulator::begin_copy(shared, global); }
inline void end_group_of_copies() { simulator::end_group_of_copies(); }
template <int LEFT>
inline void wait_for_copies() { simulator::wait_for_copies(LEFT); }
