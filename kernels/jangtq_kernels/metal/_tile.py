"""The matrix multiplication of one prefill tile. Knows neither gate nor down."""

TILE_ROWS = 32
TILE_THREADS = 128

# One tile: up to 32 rows times two panels of 32 output features. Each chunk of codes is decoded
# once into threadgroup memory; simdgroup s then owns features 8s to 8s + 7 of both panels.
TILE_PRODUCTS = """
template <int BITS>
struct Tile {
  enum {
    THREADS = 128,
    ROWS = 32,
    PER_WORD = 32 / BITS,
    WORDS = BITS == 2 ? 2 : 4,
    INPUTS = WORDS * PER_WORD,
    ROW_STRIDE = INPUTS + 4,
    FEATURE_STRIDE = 40
  };
};

template <int BITS>
inline void load_rows(
    const device float* rows, uint stride, const threadgroup int* sources, uint count, uint chunk, uint index,
    threadgroup float* kept) {
  typedef Tile<BITS> T;
  for (uint i = index; i < T::ROWS * T::INPUTS / 4; i += T::THREADS) {
    const uint row = i / (T::INPUTS / 4);
    const uint piece = i % (T::INPUTS / 4);
    float4 values = 0.0f;
    if (row < count) {
      values = ((const device float4*)(rows + size_t(sources[row]) * stride + chunk * T::INPUTS))[piece];
    }
    ((threadgroup float4*)(kept + row * T::ROW_STRIDE))[piece] = values;
  }
}

template <int BITS>
inline void decode_panels(
    const device uint* first_codes, const device uint* second_codes, uint chunk, uint index,
    const thread float* levels, threadgroup float* kept) {
  typedef Tile<BITS> T;
  for (uint item = index; item < 2 * T::WORDS * 32; item += T::THREADS) {
    const uint feature = item % 32;
    const uint word = item / 32 % T::WORDS;
    const uint panel = item / 32 / T::WORDS;
    const uint in_order = chunk * T::WORDS + word;
    uint bits = (panel == 0 ? first_codes : second_codes)[(in_order / 4 * 32 + feature) * 4 + in_order % 4];
    threadgroup float* column = kept + (panel * T::INPUTS + word * T::PER_WORD) * T::FEATURE_STRIDE + feature;
#pragma unroll
    for (int i = T::PER_WORD - 1; i >= 0; --i) {
      const uint magnitude = as_type<uint>(top_magnitude<BITS>(bits, levels));
      column[i * T::FEATURE_STRIDE] = as_type<float>(magnitude | (bits & 0x80000000u));
      bits <<= BITS;
    }
  }
}

template <int BITS>
inline void multiply_chunk(
    const threadgroup float* rows, const threadgroup float* panels, uint count, uint simdgroup,
    thread simdgroup_float8x8 (&sums)[2][4]) {
  typedef Tile<BITS> T;
  for (uint k = 0; k < T::INPUTS; k += 8) {
    simdgroup_float8x8 first, second;
    simdgroup_load(first, panels + k * T::FEATURE_STRIDE + simdgroup * 8, T::FEATURE_STRIDE);
    simdgroup_load(second, panels + (T::INPUTS + k) * T::FEATURE_STRIDE + simdgroup * 8, T::FEATURE_STRIDE);
#pragma unroll
    for (uint f = 0; f < 4; ++f) {
      if (f * 8 < count) {
        simdgroup_float8x8 eight_rows;
        simdgroup_load(eight_rows, rows + f * 8 * T::ROW_STRIDE + k, T::ROW_STRIDE);
        simdgroup_multiply_accumulate(sums[0][f], eight_rows, first, sums[0][f]);
        simdgroup_multiply_accumulate(sums[1][f], eight_rows, second, sums[1][f]);
      }
    }
  }
}

template <int BITS>
inline void multiply_tile(
    const device float* rows, uint stride, const threadgroup int* sources, uint count, uint chunks,
    const device uint* first_codes, const device uint* second_codes, const thread float* levels,
    uint index, threadgroup float* kept_rows, threadgroup float* kept_panels) {
  typedef Tile<BITS> T;
  simdgroup_float8x8 sums[2][4];
#pragma unroll
  for (uint f = 0; f < 4; ++f) {
    sums[0][f] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
    sums[1][f] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
  }
  for (uint chunk = 0; chunk < chunks; ++chunk) {
    load_rows<BITS>(rows, stride, sources, count, chunk, index, kept_rows);
    decode_panels<BITS>(first_codes, second_codes, chunk, index, levels, kept_panels);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    multiply_chunk<BITS>(kept_rows, kept_panels, count, index / 32, sums);
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }
#pragma unroll
  for (uint f = 0; f < 4; ++f) {
    if (f * 8 < count) {
      simdgroup_store(sums[0][f], kept_panels + f * 8 * 32 + index / 32 * 8, 32);
      simdgroup_store(sums[1][f], kept_panels + (32 + f * 8) * 32 + index / 32 * 8, 32);
    }
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
}
"""
