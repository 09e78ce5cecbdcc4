// Kernels: rows rotated by the randomized block Hadamard transform and split into halves; codes laid out anew.
#include "layout.cuh"

constexpr int ROTATION_THREADS = 512;

// The block that input i lies in is as large as the highest bit in which i and `size` differ, and it starts at a
// multiple of its size: a butterfly of distance d acts on i where i ^ size >= 2d.
__device__ __forceinline__ bool is_crossed(int i, int size, int distance) {
  return i < size && (i ^ size) >= 2 * distance;
}

__device__ __forceinline__ float load_rotated_lanes(const float* row, const float* signs, int i, int size) {
  float value = i < size ? __fmul_rn(row[i], signs[i]) : 0.0f;
#pragma unroll
  for (int distance = 1; distance < 32; distance *= 2) {
    const float other = shuffle_xor(value, distance);
    if (is_crossed(i, size, distance)) {
      value = (i & distance) == 0 ? __fadd_rn(value, other) : __fsub_rn(other, value);
    }
  }
  return value;
}

__device__ __forceinline__ void cross(float* kept, int size, int distance) {
  for (int i = threadIdx.x;; i += ROTATION_THREADS) {
    const int low = (i & ~(distance - 1)) * 2 + (i & (distance - 1));
    if (low >= size) return;
    if (is_crossed(low, size, distance)) {
      const float a = kept[low], b = kept[low + distance];
      kept[low] = __fadd_rn(a, b);
      kept[low + distance] = __fsub_rn(a, b);
    }
  }
}

// The bits of the row's largest magnitude, for every thread.
__device__ __forceinline__ uint32_t normalize(float* kept, uint32_t* of_warps, int size) {
  uint32_t largest = 0;
  for (int i = threadIdx.x; i < size; i += ROTATION_THREADS) {
    const int block = 1 << (31 - __clz(i ^ size));
    const float value = __fdiv_rn(kept[i], __fsqrt_rn(static_cast<float>(block)));
    kept[i] = value;
    largest = max(largest, __float_as_uint(value) & 0x7fffffffu);
  }
  for (int mask = 16; mask > 0; mask /= 2) largest = largest_across(largest, mask);
  if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = largest;
  __syncthreads();
  for (int warp = 0; warp < ROTATION_THREADS / 32; ++warp) largest = max(largest, of_warps[warp]);
  return largest;
}

// `value` times the row's scale as two halves, which together hold 22 bits of the largest.
__device__ __forceinline__ void split(float value, float scale, uint32_t& high, uint32_t& low) {
  const float wanted = __fmul_rn(value, scale);
  high = half_bits(wanted);
  low = half_bits(__fsub_rn(wanted, half_value(high)));
}

// Grid: rows. halves: [rows][chains * 8][4], as layout.cuh says; inverses: [rows], what undoes the scale.
extern "C" __global__ void __launch_bounds__(ROTATION_THREADS) rotate_rows(
    const float* rows, const float* signs, int size, int chains, uint4* halves, float* inverses) {
  __shared__ float kept[LARGEST_SIZE];
  __shared__ uint32_t of_warps[ROTATION_THREADS / 32];
  const size_t row = blockIdx.x;
  for (int i = threadIdx.x; i < (size + 31) / 32 * 32; i += ROTATION_THREADS) {
    kept[i] = load_rotated_lanes(rows + row * size, signs, i, size);
  }
  __syncthreads();
  for (int distance = 32; distance < size; distance *= 2) {
    cross(kept, size, distance);
    __syncthreads();
  }
  const uint32_t largest = normalize(kept, of_warps, size);
  // The largest becomes a number from 2^14 to 2^15.
  const int exponent = min(14 + 127 - static_cast<int>(largest >> 23), 126);
  const float scale = __uint_as_float((127 + exponent) << 23);
  for (int i = threadIdx.x; i < chains * CHAIN_STEPS * 4; i += ROTATION_THREADS) {
    uint32_t high[4], low[4];
#pragma unroll
    for (int v = 0; v < 4; ++v) {
      const int input = i / 4 * STEP_INPUTS + i % 4 * 2 + v % 2 + v / 2 * 8;
      split(input < size ? kept[input] : 0.0f, scale, high[v], low[v]);
    }
    uint4 piece;
    piece.x = high[0] | high[1] << 16;
    piece.y = high[2] | high[3] << 16;
    piece.z = low[0] | low[1] << 16;
    piece.w = low[2] | low[3] << 16;
    halves[row * chains * (CHAIN_STEPS * 4) + i] = piece;
  }
  if (threadIdx.x == 0) inverses[row] = __uint_as_float((127 - exponent) << 23);
}

// One code as the kernels know it: an index into the levels, of 4 bits sign (1 is negative) over magnitude.
__device__ __forceinline__ uint32_t read_code(
    const uint32_t* words, int features, int inputs, int words_of_feature, int bits, int feature, int input) {
  if (feature >= features || input >= inputs) return 0;
  const int in_word = 32 / bits;
  const uint32_t word = words[static_cast<size_t>(feature) * words_of_feature + input / in_word];
  const uint32_t code = word >> (input % in_word * bits) & ((1u << bits) - 1);
  return bits < 4 ? code : code < 8 ? 8 | (7 - code) : code - 8;
}

// Grid: chains, feature tiles, experts of the bundle's codes [experts][features][words]; a warp each.
extern "C" __global__ void lay_out_codes(
    const uint32_t* bundle, int features, int inputs, int words_of_feature, int bits, uint32_t* codes) {
  const int lane = threadIdx.x;
  const size_t expert = blockIdx.z;
  const size_t block = (expert * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const uint32_t* words = bundle + expert * features * words_of_feature;
  uint32_t* laid_out = codes + block * chain_words(bits);
  uint32_t low[4] = {}, third[2] = {}, sign[2] = {};
  for (int step = 0; step < CHAIN_STEPS; ++step) {
    for (int i = 0; i < 8; ++i) {
      const int feature = blockIdx.y * FEATURES + lane / 4 + i / 2 % 2 * 8;
      const int input = blockIdx.x * CHAIN_INPUTS + step * STEP_INPUTS + lane % 4 * 2 + i % 2 + i / 4 * 8;
      const uint32_t code = read_code(words, features, inputs, words_of_feature, bits, feature, input);
      // Of two bits, halves that become one word are neighbouring bytes; else weight i is nibble i.
      const int place = bits == 2 ? 8 * (i / 2 % 2 * 2 + i % 2) + step % 2 * 4 + i / 4 * 2 : 4 * i + step % 2 * 2;
      low[step / 2] |= (code & 3) << place;
      third[step / 4] |= (code >> 2 & 1) << (4 * i + step % 4);
      sign[step / 4] |= (code >> 3) << (15 - (step % 4 * 4 + i / 2) + i % 2 * 16);
    }
  }
  for (int i = 0; i < 4; ++i) laid_out[lane * 4 + i] = low[i];
  for (int i = 0; i < 2 && bits >= 3; ++i) laid_out[128 + lane * 2 + i] = third[i];
  for (int i = 0; i < 2 && bits == 4; ++i) laid_out[192 + lane * 2 + i] = sign[i];
}
