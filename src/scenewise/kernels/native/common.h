// What every native kernel shares: 16-lane vectors, and the one thread pool.
//
// The same source is compiled once per instruction set (see build_backend/scenewise_build.py).  Kernels use the types and functions
// here, never intrinsics.  A Native is one register by the compiler's vector extensions.  A V16 is the same on AVX-512; elsewhere
// it is a struct of registers, because GCC takes a vector wider than the processor's through memory, at a tenth of the speed.  So
// what a struct cannot say goes by functions: select(mask, a, b), as_int, as_float, to_int, to_float; lanes are written in memory.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>

#if defined(__AVX512F__) || defined(__AVX2__) || defined(__SSE4_1__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define SW_EXPORT extern "C" __attribute__((visibility("default")))
#define SW_INLINE inline __attribute__((always_inline))

namespace sw {

// -------------------------------------------------------------------------------------------------------------- one register

#if defined(__AVX512F__)
constexpr int kNativeLanes = 16;
#elif defined(__AVX2__)
constexpr int kNativeLanes = 8;
#else
constexpr int kNativeLanes = 4;
#endif
constexpr int kParts = 16 / kNativeLanes;  // registers of a V16

// A true lane of a comparison is −1, a false one 0.
typedef float Native __attribute__((vector_size(4 * kNativeLanes)));
typedef int32_t NativeInt __attribute__((vector_size(4 * kNativeLanes)));
typedef uint32_t NativeUnsigned __attribute__((vector_size(4 * kNativeLanes)));
// Unaligned views for loads and stores from user arrays.
typedef float NativeU __attribute__((vector_size(4 * kNativeLanes), aligned(4)));
typedef int32_t NativeIntU __attribute__((vector_size(4 * kNativeLanes), aligned(4)));

SW_INLINE Native load_native(const float* p) { return *reinterpret_cast<const NativeU*>(p); }
SW_INLINE NativeInt load_native(const int32_t* p) { return *reinterpret_cast<const NativeIntU*>(p); }
SW_INLINE void store(float* p, Native v) { *reinterpret_cast<NativeU*>(p) = v; }
SW_INLINE void store(int32_t* p, NativeInt v) { *reinterpret_cast<NativeIntU*>(p) = v; }
SW_INLINE Native select(NativeInt mask, Native yes, Native no) { return mask ? yes : no; }
SW_INLINE NativeInt select(NativeInt mask, NativeInt yes, NativeInt no) { return mask ? yes : no; }

SW_INLINE NativeInt as_int(Native v) { return reinterpret_cast<NativeInt>(v); }
SW_INLINE NativeInt as_int(NativeUnsigned v) { return reinterpret_cast<NativeInt>(v); }
SW_INLINE NativeUnsigned as_unsigned(NativeInt v) { return reinterpret_cast<NativeUnsigned>(v); }
SW_INLINE Native as_float(NativeInt v) { return reinterpret_cast<Native>(v); }
SW_INLINE Native to_float(NativeInt v) { return __builtin_convertvector(v, Native); }
SW_INLINE NativeInt to_int(Native v) { return __builtin_convertvector(v, NativeInt); }  // towards zero

// Below, for each instruction set: vmin and vmax give b where either is NaN, as the processors' instructions and `a < b ? a : b` do;
// splat_pair(a, b) is a b a b …, of which only bits are moved; store_interleaved writes a0 b0 a1 b1 ….
#if defined(__AVX512F__)
SW_INLINE Native splat_native(float x) { return Native{x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x}; }
SW_INLINE NativeInt splat_native_int(int32_t x) { return NativeInt{x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x}; }
SW_INLINE Native vmin(Native a, Native b) {
  return reinterpret_cast<Native>(_mm512_min_ps(reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b)));
}
SW_INLINE Native vmax(Native a, Native b) {
  return reinterpret_cast<Native>(_mm512_max_ps(reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b)));
}
SW_INLINE Native vsqrt(Native a) { return reinterpret_cast<Native>(_mm512_sqrt_ps(reinterpret_cast<__m512>(a))); }
SW_INLINE Native vfloor(Native a) {
  for (int i = 0; i < 16; ++i) a[i] = __builtin_floorf(a[i]);
  return a;
}
// 1 / a for normal a; relative error below 2^-27 (one Newton step on the hardware's 14-bit estimate).
SW_INLINE Native reciprocal(Native a) {
  const Native r = reinterpret_cast<Native>(_mm512_rcp14_ps(reinterpret_cast<__m512>(a)));
  return r * (splat_native(2.0f) - a * r);
}
SW_INLINE Native splat_pair(const float* two) {
  typedef double Pairs __attribute__((vector_size(64)));
  double d;
  std::memcpy(&d, two, 8);
  return reinterpret_cast<Native>(Pairs{d, d, d, d, d, d, d, d});
}
SW_INLINE void store_interleaved(float* out, Native a, Native b) {
#if defined(__clang__)
  store(out, __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23));
  store(out + 16, __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31));
#else  // GCC 11 does not know the above
  store(out, __builtin_shuffle(a, b, NativeInt{0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23}));
  store(out + 16, __builtin_shuffle(a, b, NativeInt{8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31}));
#endif
}
SW_INLINE bool any_above(Native a, float bound) {
  return _mm512_cmp_ps_mask(reinterpret_cast<__m512>(a), _mm512_set1_ps(bound), _CMP_GT_OQ) != 0;
}
#else
#if defined(__AVX2__)
SW_INLINE Native splat_native(float x) { return Native{x, x, x, x, x, x, x, x}; }
SW_INLINE NativeInt splat_native_int(int32_t x) { return NativeInt{x, x, x, x, x, x, x, x}; }
SW_INLINE Native vmin(Native a, Native b) {
  return reinterpret_cast<Native>(_mm256_min_ps(reinterpret_cast<__m256>(a), reinterpret_cast<__m256>(b)));
}
SW_INLINE Native vmax(Native a, Native b) {
  return reinterpret_cast<Native>(_mm256_max_ps(reinterpret_cast<__m256>(a), reinterpret_cast<__m256>(b)));
}
SW_INLINE Native vsqrt(Native a) { return reinterpret_cast<Native>(_mm256_sqrt_ps(reinterpret_cast<__m256>(a))); }
SW_INLINE Native vfloor(Native a) { return reinterpret_cast<Native>(_mm256_floor_ps(reinterpret_cast<__m256>(a))); }
SW_INLINE Native splat_pair(const float* two) {
  double d;
  std::memcpy(&d, two, 8);
  return reinterpret_cast<Native>(_mm256_set1_pd(d));
}
SW_INLINE void store_interleaved(float* out, Native a, Native b) {
  const __m256 x = _mm256_unpacklo_ps(reinterpret_cast<__m256>(a), reinterpret_cast<__m256>(b));
  const __m256 y = _mm256_unpackhi_ps(reinterpret_cast<__m256>(a), reinterpret_cast<__m256>(b));
  _mm256_storeu_ps(out, _mm256_permute2f128_ps(x, y, 0x20));
  _mm256_storeu_ps(out + 8, _mm256_permute2f128_ps(x, y, 0x31));
}
SW_INLINE bool any_true(NativeInt mask) { return _mm256_movemask_ps(reinterpret_cast<__m256>(mask)) != 0; }
#else
SW_INLINE Native splat_native(float x) { return Native{x, x, x, x}; }
SW_INLINE NativeInt splat_native_int(int32_t x) { return NativeInt{x, x, x, x}; }
#if defined(__SSE4_1__)
SW_INLINE Native vmin(Native a, Native b) {
  return reinterpret_cast<Native>(_mm_min_ps(reinterpret_cast<__m128>(a), reinterpret_cast<__m128>(b)));
}
SW_INLINE Native vmax(Native a, Native b) {
  return reinterpret_cast<Native>(_mm_max_ps(reinterpret_cast<__m128>(a), reinterpret_cast<__m128>(b)));
}
SW_INLINE Native vsqrt(Native a) { return reinterpret_cast<Native>(_mm_sqrt_ps(reinterpret_cast<__m128>(a))); }
SW_INLINE Native vfloor(Native a) { return reinterpret_cast<Native>(_mm_floor_ps(reinterpret_cast<__m128>(a))); }
SW_INLINE Native splat_pair(const float* two) {
  double d;
  std::memcpy(&d, two, 8);
  return reinterpret_cast<Native>(_mm_set1_pd(d));
}
SW_INLINE void store_interleaved(float* out, Native a, Native b) {
  _mm_storeu_ps(out, _mm_unpacklo_ps(reinterpret_cast<__m128>(a), reinterpret_cast<__m128>(b)));
  _mm_storeu_ps(out + 4, _mm_unpackhi_ps(reinterpret_cast<__m128>(a), reinterpret_cast<__m128>(b)));
}
SW_INLINE bool any_true(NativeInt mask) { return _mm_movemask_ps(reinterpret_cast<__m128>(mask)) != 0; }
#else
SW_INLINE Native vmin(Native a, Native b) { return a < b ? a : b; }
SW_INLINE Native vmax(Native a, Native b) { return a > b ? a : b; }
#if defined(__aarch64__)
SW_INLINE Native vsqrt(Native a) { return reinterpret_cast<Native>(vsqrtq_f32(reinterpret_cast<float32x4_t>(a))); }
SW_INLINE Native vfloor(Native a) { return reinterpret_cast<Native>(vrndmq_f32(reinterpret_cast<float32x4_t>(a))); }
#else
SW_INLINE Native vsqrt(Native a) {
  for (int i = 0; i < kNativeLanes; ++i) a[i] = __builtin_sqrtf(a[i]);
  return a;
}
SW_INLINE Native vfloor(Native a) {
  for (int i = 0; i < kNativeLanes; ++i) a[i] = __builtin_floorf(a[i]);
  return a;
}
#endif
SW_INLINE Native splat_pair(const float* two) { return Native{two[0], two[1], two[0], two[1]}; }
SW_INLINE void store_interleaved(float* out, Native a, Native b) {
  for (int i = 0; i < kNativeLanes; ++i) out[2 * i] = a[i], out[2 * i + 1] = b[i];
}
SW_INLINE bool any_true(NativeInt mask) {
  int64_t halves[2];
  std::memcpy(halves, &mask, sizeof halves);
  return (halves[0] | halves[1]) != 0;
}
#endif
#endif
SW_INLINE Native reciprocal(Native a) { return splat_native(1.0f) / a; }
SW_INLINE bool any_above(Native a, float bound) { return any_true(a > splat_native(bound)); }
#endif
SW_INLINE Native vabs(Native a) { return as_float(as_int(a) & splat_native_int(0x7fffffff)); }

// ------------------------------------------------------------------------------------------------------------- sixteen lanes

#if defined(__AVX512F__)
typedef Native V16;
typedef NativeInt I16;
typedef NativeUnsigned U16;

SW_INLINE V16 splat(float x) { return splat_native(x); }
SW_INLINE I16 splat_int(int32_t x) { return splat_native_int(x); }
SW_INLINE V16 load(const float* p) { return load_native(p); }
SW_INLINE I16 load(const int32_t* p) { return load_native(p); }
#else
// Two vectors side by side, nested to make more.  Members and not an array: the compiler keeps them in registers without having to
// unroll a loop first.
template <class Part, class Scalar>
struct Twice {
  Part low, high;

  // By way of a copy: a variable index into the vector itself would keep it in memory for good.
  SW_INLINE Scalar operator[](int lane) const {
    Scalar lanes[sizeof(Twice) / sizeof(Scalar)];
    std::memcpy(lanes, this, sizeof lanes);
    return lanes[lane];
  }

  friend SW_INLINE Twice operator-(Twice a) { return {-a.low, -a.high}; }
  friend SW_INLINE Twice operator~(Twice a) { return {~a.low, ~a.high}; }
  friend SW_INLINE Twice operator<<(Twice a, int bits) { return {a.low << bits, a.high << bits}; }
  friend SW_INLINE Twice operator>>(Twice a, int bits) { return {a.low >> bits, a.high >> bits}; }
#define SW_OPERATOR(op)                                                                                        \
  friend SW_INLINE Twice operator op(Twice a, Twice b) { return {a.low op b.low, a.high op b.high}; }          \
  friend SW_INLINE Twice operator op(Twice a, Scalar b) { return {a.low op b, a.high op b}; }                  \
  friend SW_INLINE Twice operator op(Scalar a, Twice b) { return {a op b.low, a op b.high}; }                  \
  friend SW_INLINE Twice& operator op##=(Twice& a, Twice b) { return a = {a.low op b.low, a.high op b.high}; } \
  friend SW_INLINE Twice& operator op##=(Twice& a, Scalar b) { return a = {a.low op b, a.high op b}; }
  SW_OPERATOR(+)
  SW_OPERATOR(-)
  SW_OPERATOR(*)
  SW_OPERATOR(/)
  SW_OPERATOR(&)
  SW_OPERATOR(|)
  SW_OPERATOR(^)
#undef SW_OPERATOR
#define SW_COMPARISON(op)                                                              \
  friend SW_INLINE auto operator op(Twice a, Twice b) {                                \
    return Twice<decltype(a.low op b.low), int32_t>{a.low op b.low, a.high op b.high}; \
  }
  SW_COMPARISON(<)
  SW_COMPARISON(<=)
  SW_COMPARISON(>)
  SW_COMPARISON(>=)
  SW_COMPARISON(==)
  SW_COMPARISON(!=)
#undef SW_COMPARISON
};

SW_INLINE Twice<Native, float> twice(Native low, Native high) { return {low, high}; }
SW_INLINE Twice<NativeInt, int32_t> twice(NativeInt low, NativeInt high) { return {low, high}; }
SW_INLINE Twice<NativeUnsigned, uint32_t> twice(NativeUnsigned low, NativeUnsigned high) { return {low, high}; }
template <class Part, class Scalar>
SW_INLINE Twice<Twice<Part, Scalar>, Scalar> twice(Twice<Part, Scalar> low, Twice<Part, Scalar> high) {
  return {low, high};
}

#define SW_FUNCTION(name)                      \
  template <class Part, class Scalar>          \
  SW_INLINE auto name(Twice<Part, Scalar> v) { \
    return twice(name(v.low), name(v.high));   \
  }
SW_FUNCTION(as_int)
SW_FUNCTION(as_unsigned)
SW_FUNCTION(as_float)
SW_FUNCTION(to_int)
SW_FUNCTION(to_float)
SW_FUNCTION(vsqrt)
SW_FUNCTION(vfloor)
SW_FUNCTION(reciprocal)
SW_FUNCTION(vabs)
#undef SW_FUNCTION
template <class Part>
SW_INLINE Twice<Part, float> vmin(Twice<Part, float> a, Twice<Part, float> b) {
  return {vmin(a.low, b.low), vmin(a.high, b.high)};
}
template <class Part>
SW_INLINE Twice<Part, float> vmax(Twice<Part, float> a, Twice<Part, float> b) {
  return {vmax(a.low, b.low), vmax(a.high, b.high)};
}
template <class Mask, class Part, class Scalar>
SW_INLINE Twice<Part, Scalar> select(Twice<Mask, int32_t> mask, Twice<Part, Scalar> yes, Twice<Part, Scalar> no) {
  return {select(mask.low, yes.low, no.low), select(mask.high, yes.high, no.high)};
}
template <class Part, class Scalar>
SW_INLINE void store(Scalar* p, Twice<Part, Scalar> v) {
  store(p, v.low), store(p + sizeof(Part) / sizeof(Scalar), v.high);
}

// part(i) is the i-th register.
template <class Part>
SW_INLINE auto sixteen_of(const Part& part) {
#if defined(__AVX2__)
  return twice(part(0), part(1));
#else
  return twice(twice(part(0), part(1)), twice(part(2), part(3)));
#endif
}
SW_INLINE auto splat(float x) {
  const Native part = splat_native(x);
  return sixteen_of([=](int) { return part; });
}
SW_INLINE auto splat_int(int32_t x) {
  const NativeInt part = splat_native_int(x);
  return sixteen_of([=](int) { return part; });
}
SW_INLINE auto load(const float* p) {
  return sixteen_of([=](int i) { return load_native(p + i * kNativeLanes); });
}
SW_INLINE auto load(const int32_t* p) {
  return sixteen_of([=](int i) { return load_native(p + i * kNativeLanes); });
}
typedef decltype(splat(0.0f)) V16;
typedef decltype(splat_int(0)) I16;
typedef decltype(as_unsigned(splat_int(0))) U16;
#endif

// 2^x for x in [-126, 127]; relative error below 3e-7 (degree-5 minimax on [-1/2, 1/2]).
SW_INLINE V16 exp2_fast(V16 x) {
  const V16 magic = splat(12582912.0f);  // 1.5·2^23: adding it rounds to the nearest integer
  V16 shifted = x + magic;
  V16 fraction = x - (shifted - magic);
  V16 p = splat(1.33336498402e-3f);
  p = p * fraction + splat(9.6181291794e-3f);
  p = p * fraction + splat(5.5504108945e-2f);
  p = p * fraction + splat(2.4022650708e-1f);
  p = p * fraction + splat(6.9314718056e-1f);
  p = p * fraction + splat(1.0f);
  I16 exponent = as_int(shifted) << 23;
  return as_float(as_int(p) + exponent);
}

// log₂ of v > 0, normal; relative error near 1e-7.
SW_INLINE V16 log2_fast(V16 v) {
  I16 bits = as_int(v);
  I16 exponent = (bits >> 23) - splat_int(127);
  V16 m = as_float((bits & splat_int(0x007fffff)) | splat_int(0x3f800000));
  I16 high = m > splat(1.41421356f);
  m = select(high, m * splat(0.5f), m);
  exponent = exponent - high;  // a true comparison is −1
  V16 t = (m - splat(1.0f)) / (m + splat(1.0f)), t2 = t * t;
  V16 p = splat(0.22222222f);
  p = p * t2 + splat(0.28571429f);
  p = p * t2 + splat(0.4f);
  p = p * t2 + splat(0.66666667f);
  p = p * t2 + splat(2.0f);
  return to_float(exponent) + t * p * splat(1.4426950408889634f);
}

// Runs fn(chunk) for every chunk in [0, chunks) on the pool's threads and the caller; returns when all are done.  Which thread
// runs a chunk is not determined, so a chunk may only write what no other chunk touches: then results do not depend on the
// number of threads.  Denormals are flushed to zero inside.  A call from inside a chunk runs serially.
void parallel_for(int64_t chunks, const std::function<void(int64_t)>& fn);

// Splits [0, n) into ranges of at most `grain` (fixed, whatever the number of threads) and runs fn(begin, end) on each.
inline void parallel_ranges(int64_t n, int64_t grain, const std::function<void(int64_t, int64_t)>& fn) {
  int64_t chunks = (n + grain - 1) / grain;
  parallel_for(chunks, [&](int64_t c) { fn(c * grain, (c + 1) * grain < n ? (c + 1) * grain : n); });
}

}  // namespace sw
