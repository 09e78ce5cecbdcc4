// The part of the Metal Shading Language that the kernels use, as C++20 for clang. No system header
// is included, so a function missing here fails to compile instead of meeting its C namesake.
#pragma once

// Unlike empty macros, numbered address spaces keep clang refusing what Metal refuses,
// such as a `constant` array given where a `device` pointer is expected.
#define device __attribute__((address_space(1)))
#define constant __attribute__((address_space(2)))
#define threadgroup __attribute__((address_space(3)))
// `used`: the runtime poisons these before each threadgroup, which the optimizer must not rule out.
#define threadgroup_variable static __attribute__((used, section("metal_threadgroup"))) threadgroup
#define thread
#define double double_does_not_exist_in_metal

using int8_t = signed char;
using uint8_t = unsigned char;
using int16_t = short;
using uint16_t = unsigned short;
using int32_t = int;
using uint32_t = unsigned;
using int64_t = long;
using uint64_t = unsigned long;
using uchar = unsigned char;
using ushort = unsigned short;
using uint = unsigned;
using ulong = unsigned long;
using size_t = unsigned long;
#if __clang_major__ < 15 && defined(__x86_64__)
using half = __fp16;
#else
using half = _Float16;
#endif
using float16_t = half;

namespace metal {

template <typename T, int N>
using vec = T __attribute__((ext_vector_type(N)));

}  // namespace metal

using uint2 = metal::vec<uint, 2>;
using uint3 = metal::vec<uint, 3>;
using uint4 = metal::vec<uint, 4>;
using ulong2 = metal::vec<ulong, 2>;
using half2 = metal::vec<half, 2>;
using half4 = metal::vec<half, 4>;
using float2 = metal::vec<float, 2>;
using float4 = metal::vec<float, 4>;

namespace simulator {

constexpr uint simd_width = 32;
constexpr uint payload_bytes = 16;

struct ThreadPosition {
  uint3 thread_position_in_grid;
  uint3 thread_position_in_threadgroup;
  uint3 threadgroup_position_in_grid;
  uint3 threadgroups_per_grid;
  uint3 threads_per_grid;
  uint3 threads_per_threadgroup;
  uint thread_index_in_threadgroup;
  uint thread_index_in_simdgroup;
  uint simdgroup_index_in_threadgroup;
  uint simdgroups_per_threadgroup;
};

// What the lanes of a SIMD-group brought to one operation; a lane that has returned is not present.
struct Exchange {
  const unsigned char (*payloads)[payload_bytes];
  uint present;
};

// Both wait for their partners; `line` is where the Metal source calls, for the report.
Exchange exchange(const void* payload, uint bytes, const char* operation, int line);
void wait_at_barrier(int line);
uint current_lane();

template <typename T>
T payload_of(const Exchange& met, uint lane) {
  T value;
  __builtin_memset(&value, 0xFF, sizeof(T));
  if (lane < simd_width && (met.present >> lane & 1)) {
    __builtin_memcpy(&value, met.payloads[lane], sizeof(T));
  }
  return value;
}

}  // namespace simulator

namespace metal {

enum class mem_flags { mem_none = 0, mem_device = 1, mem_threadgroup = 2 };

inline void threadgroup_barrier(mem_flags, int line = __builtin_LINE()) { simulator::wait_at_barrier(line); }

template <typename To, typename From>
To as_type(From value) {
  static_assert(sizeof(To) == sizeof(From));
  return __builtin_bit_cast(To, value);
}

inline float fabs(float x) { return __builtin_fabsf(x); }
inline float abs(float x) { return __builtin_fabsf(x); }
inline float sqrt(float x) { return __builtin_sqrtf(x); }
inline float rsqrt(float x) { return 1.0f / __builtin_sqrtf(x); }
inline float exp(float x) { return __builtin_expf(x); }
inline float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
inline float rint(float x) { return __builtin_rintf(x); }
inline uint clz(uint x) { return x == 0 ? 32 : __builtin_clz(x); }

template <typename T>
T min(T a, T b) {
  return b < a ? b : a;
}
template <typename T>
T max(T a, T b) {
  return a < b ? b : a;
}

namespace fast {
using metal::exp;
}
namespace precise {
using metal::exp;
using metal::sqrt;
}  // namespace precise

template <typename T>
T simd_shuffle_xor(T value, ushort mask, int line = __builtin_LINE()) {
  static_assert(sizeof(T) <= simulator::payload_bytes);
  auto met = simulator::exchange(&value, sizeof(T), "simd_shuffle_xor", line);
  return simulator::payload_of<T>(met, simulator::current_lane() ^ mask);
}

template <typename T>
T simd_sum(T value, int line = __builtin_LINE()) {
  auto met = simulator::exchange(&value, sizeof(T), "simd_sum", line);
  T total = 0;
  for (uint lane = 0; lane < simulator::simd_width; ++lane) {
    if (met.present >> lane & 1) total += simulator::payload_of<T>(met, lane);
  }
  return total;
}

template <typename T>
T simd_max(T value, int line = __builtin_LINE()) {
  auto met = simulator::exchange(&value, sizeof(T), "simd_max", line);
  T largest = value;
  for (uint lane = 0; lane < simulator::simd_width; ++lane) {
    if (met.present >> lane & 1) largest = max(largest, simulator::payload_of<T>(met, lane));
  }
  return largest;
}

// Lane l keeps row l / 4, columns 2 * (l % 4) and the next; Metal leaves the mapping unsaid, so it is private.
template <typename T, int Columns, int Rows>
class simdgroup_matrix {
  static_assert(Columns == 8 && Rows == 8, "Metal has 8x8 only");
  T kept[2];

  static uint row() { return simulator::current_lane() / 4; }
  static uint column() { return simulator::current_lane() % 4 * 2; }

 public:
  static simdgroup_matrix filled(T value) {
    simdgroup_matrix matrix;
    matrix.kept[0] = matrix.kept[1] = value;
    return matrix;
  }

  template <typename Pointer>
  void load(Pointer source, ulong elements_per_row, bool transpose) {
    for (uint i = 0; i < 2; ++i) {
      kept[i] = transpose ? source[(column() + i) * elements_per_row + row()]
                          : source[row() * elements_per_row + column() + i];
    }
  }

  template <typename Pointer>
  void store(Pointer target, ulong elements_per_row) const {
    for (uint i = 0; i < 2; ++i) target[row() * elements_per_row + column() + i] = kept[i];
  }

  void multiply_accumulate(const simdgroup_matrix& a, const simdgroup_matrix& b, const simdgroup_matrix& c, int line) {
    const T brought[4] = {a.kept[0], a.kept[1], b.kept[0], b.kept[1]};
    auto met = simulator::exchange(brought, sizeof(brought), "simdgroup_multiply_accumulate", line);
    auto brought_by = [&](uint lane) { return reinterpret_cast<const T*>(met.payloads[lane]); };
    const uint r = row(), col = column();
    T sums[2] = {c.kept[0], c.kept[1]};
    for (uint k = 0; k < 8; ++k) {
      const T left = brought_by(r * 4 + k / 2)[k % 2];
      for (uint i = 0; i < 2; ++i) sums[i] += left * brought_by(k * 4 + col / 2)[2 + i];
    }
    kept[0] = sums[0];
    kept[1] = sums[1];
  }
};

using simdgroup_float8x8 = simdgroup_matrix<float, 8, 8>;

template <typename T, int Columns, int Rows>
simdgroup_matrix<T, Columns, Rows> make_filled_simdgroup_matrix(T value) {
  return simdgroup_matrix<T, Columns, Rows>::filled(value);
}

template <typename T, int Columns, int Rows, typename Pointer>
void simdgroup_load(simdgroup_matrix<T, Columns, Rows>& matrix, Pointer source, ulong elements_per_row = Columns) {
  matrix.load(source, elements_per_row, false);
}

template <typename T, int Columns, int Rows, typename Pointer>
void simdgroup_store(simdgroup_matrix<T, Columns, Rows> matrix, Pointer target, ulong elements_per_row = Columns) {
  matrix.store(target, elements_per_row);
}

template <typename Matrix>
void simdgroup_multiply_accumulate(Matrix& d, Matrix a, Matrix b, Matrix c, int line = __builtin_LINE()) {
  d.multiply_accumulate(a, b, c, line);
}

}  // namespace metal

using namespace metal;
