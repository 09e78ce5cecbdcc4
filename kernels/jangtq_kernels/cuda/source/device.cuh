// What the kernels ask of the device beyond C++: one instruction a function. The simulator of the tests has
// functions of the same names in its own file.
#pragma once

typedef unsigned int uint32_t;
typedef unsigned short uint16_t;

// Byte i of the result is byte (selector >> 4 * i & 7) of the eight in `low` and `high`.
__device__ __forceinline__ uint32_t pick_bytes(uint32_t low, uint32_t high, uint32_t selector) {
  uint32_t picked;
  asm("prmt.b32 %0, %1, %2, %3;" : "=r"(picked) : "r"(low), "r"(high), "r"(selector));
  return picked;
}

__device__ __forceinline__ uint32_t half_bits(float value) {
  uint16_t bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return bits;
}

__device__ __forceinline__ float half_value(uint32_t bits) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"((uint16_t)bits));
  return value;
}

// sums[16 x 8] += weights[16 x 16] * rows[16 x 8] of a warp, halves in float32. With g = lane / 4 and t = lane % 4,
// weights: (g, 2t), (g + 8, 2t), (g, 2t + 8), (g + 8, 2t + 8), each with its right neighbour; rows: (2t, g),
// (2t + 8, g), each with the one below; sums: (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1).
__device__ __forceinline__ void multiply_add(
    float (&sums)[4], const uint32_t (&weights)[4], uint32_t rows_0, uint32_t rows_1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(weights[0]), "r"(weights[1]), "r"(weights[2]), "r"(weights[3]), "r"(rows_0), "r"(rows_1));
}

// 16 bytes from global into shared memory, in the background.
__device__ __forceinline__ void begin_copy(uint4* shared, const uint4* global) {
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(address), "l"(global) : "memory");
}

__device__ __forceinline__ void end_group_of_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Until all of this thread's groups of copies but the newest `LEFT` are there.
template <int LEFT>
__device__ __forceinline__ void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
}

__device__ __forceinline__ float shuffle_xor(float value, int mask) {
  return __shfl_xor_sync(0xffffffffu, value, mask);
}

__device__ __forceinline__ uint32_t largest_across(uint32_t value, int mask) {
  const uint32_t other = __shfl_xor_sync(0xffffffffu, value, mask);
  return value > other ? value : other;
}
