"""Metal functions that turn packed codes into weights and products. Knows the layout, no kernel."""

# A word holds its codes as sign (1 is negative) over magnitude index, the next code always on top.
# The codebook is symmetric about 0, so a weight is +-level[index]; with the index right under the
# sign bit, comparing |word as float| with a constant compares the index and ignores all codes below.
DECODING = """
#include <metal_simdgroup_matrix>
#include <metal_stdlib>
using namespace metal;

template <int BITS, int FIRST, int COUNT>
struct LevelTree {
  static inline float pick(float key, const thread float* levels) {
    const float low = LevelTree<BITS, FIRST, COUNT / 2>::pick(key, levels);
    const float high = LevelTree<BITS, FIRST + COUNT / 2, COUNT / 2>::pick(key, levels);
    return key < as_type<float>(uint(FIRST + COUNT / 2) << (32 - BITS)) ? low : high;
  }
};

template <int BITS, int FIRST>
struct LevelTree<BITS, FIRST, 1> {
  static inline float pick(float key, const thread float* levels) { return levels[FIRST]; }
};

template <int BITS>
inline float top_magnitude(uint word, const thread float* levels) {
  return LevelTree<BITS, 0, (1 << (BITS - 1))>::pick(fabs(as_type<float>(word)), levels);
}

template <int BITS>
inline void load_levels(const device float* table, thread float* levels) {
#pragma unroll
  for (int i = 0; i < (1 << (BITS - 1)); ++i) {
    levels[i] = table[i];
  }
}
"""

# Adds the products of one quad of words of several output features with one row or several. The
# top code of a word belongs to its last input, so the rows are walked backwards. For one row the
# sign goes to the row's value, where one selection serves; for several it goes to the magnitude,
# once for all. Both give the same product to the bit.
DOT_PRODUCTS = """
template <int BITS, int FEATURES, int ROWS>
struct Products {
  static inline void add(
      thread uint* words, const thread float* values, const thread float* levels, thread float* sums) {
#pragma unroll
    for (int f = 0; f < FEATURES; ++f) {
      const uint magnitude = as_type<uint>(top_magnitude<BITS>(words[f], levels));
      const float weight = as_type<float>(magnitude | (words[f] & 0x80000000u));
#pragma unroll
      for (int r = 0; r < ROWS; ++r) {
        sums[r * FEATURES + f] = fma(values[r], weight, sums[r * FEATURES + f]);
      }
      words[f] <<= BITS;
    }
  }
};

template <int BITS, int FEATURES>
struct Products<BITS, FEATURES, 1> {
  static inline void add(
      thread uint* words, const thread float* values, const thread float* levels, thread float* sums) {
    const float opposite = -values[0];
#pragma unroll
    for (int f = 0; f < FEATURES; ++f) {
      const float signed_value = int(words[f]) < 0 ? opposite : values[0];
      sums[f] = fma(signed_value, top_magnitude<BITS>(words[f], levels), sums[f]);
      words[f] <<= BITS;
    }
  }
};

template <int BITS, int FEATURES, int ROWS>
inline void add_products(
    const thread uint4* codes, const device float* const thread* rows, uint first, const thread float* levels,
    thread float* sums) {
  constexpr int PER_WORD = 32 / BITS;
  constexpr int WIDTH = PER_WORD % 4 == 0 ? 4 : 2;
  typedef vec<float, WIDTH> Piece;
#pragma unroll
  for (int word = 0; word < 4; ++word) {
    uint words[FEATURES];
#pragma unroll
    for (int f = 0; f < FEATURES; ++f) {
      words[f] = codes[f][word];
    }
#pragma unroll
    for (int piece = PER_WORD / WIDTH - 1; piece >= 0; --piece) {
      Piece pieces[ROWS];
#pragma unroll
      for (int r = 0; r < ROWS; ++r) {
        pieces[r] = ((const device Piece*)(rows[r] + first))[word * (PER_WORD / WIDTH) + piece];
      }
#pragma unroll
      for (int i = WIDTH - 1; i >= 0; --i) {
        float values[ROWS];
#pragma unroll
        for (int r = 0; r < ROWS; ++r) {
          values[r] = pieces[r][i];
        }
        Products<BITS, FEATURES, ROWS>::add(words, values, levels, sums);
      }
    }
  }
}
"""
