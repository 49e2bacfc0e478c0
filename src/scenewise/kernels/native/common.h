// What every native kernel shares: 16-lane vectors by compiler vector extensions, and the one thread pool.
//
// The same source is compiled once per instruction set (see build_backend/scenewise_build.py).  Kernels use V16 and never
// intrinsics: on AVX-512 a V16 is one register, on AVX2 two, on NEON four.  The few helpers below that a compiler does not turn
// into the one instruction meant have an AVX-512 form here, with the same result.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#define SW_EXPORT extern "C" __attribute__((visibility("default")))
#define SW_INLINE inline __attribute__((always_inline))

namespace sw {

typedef float V16 __attribute__((vector_size(64)));
typedef int32_t I16 __attribute__((vector_size(64)));
// Unaligned views for loads and stores from user arrays.
typedef float V16u __attribute__((vector_size(64), aligned(4)));

SW_INLINE V16 splat(float x) { return V16{x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x}; }
SW_INLINE I16 splat_int(int32_t x) { return I16{x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x}; }
SW_INLINE V16 load(const float* p) { return *reinterpret_cast<const V16u*>(p); }
SW_INLINE void store(float* p, V16 v) { *reinterpret_cast<V16u*>(p) = v; }
#if defined(__AVX512F__)
SW_INLINE V16 vmin(V16 a, V16 b) { return reinterpret_cast<V16>(_mm512_min_ps(reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b))); }
SW_INLINE V16 vmax(V16 a, V16 b) { return reinterpret_cast<V16>(_mm512_max_ps(reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b))); }
SW_INLINE V16 vsqrt(V16 a) { return reinterpret_cast<V16>(_mm512_sqrt_ps(reinterpret_cast<__m512>(a))); }
// 1 / a for normal a; relative error below 2^-27 (one Newton step on the hardware's 14-bit estimate).
SW_INLINE V16 reciprocal(V16 a) {
  const V16 r = reinterpret_cast<V16>(_mm512_rcp14_ps(reinterpret_cast<__m512>(a)));
  return r * (splat(2.0f) - a * r);
}
SW_INLINE bool any_above(V16 a, float bound) {
  return _mm512_cmp_ps_mask(reinterpret_cast<__m512>(a), _mm512_set1_ps(bound), _CMP_GT_OQ) != 0;
}
#else
SW_INLINE V16 vmin(V16 a, V16 b) { return a < b ? a : b; }  // b where a is NaN
SW_INLINE V16 vmax(V16 a, V16 b) { return a > b ? a : b; }  // b where a is NaN
SW_INLINE V16 vsqrt(V16 a) {
  V16 r;
  for (int i = 0; i < 16; ++i) r[i] = __builtin_sqrtf(a[i]);
  return r;
}
SW_INLINE V16 reciprocal(V16 a) { return splat(1.0f) / a; }
SW_INLINE bool any_above(V16 a, float bound) {
  I16 m = a > splat(bound);
  int64_t halves[8], any = 0;
  std::memcpy(halves, &m, sizeof halves);
  for (int i = 0; i < 8; ++i) any |= halves[i];
  return any != 0;
}
#endif
SW_INLINE V16 vabs(V16 a) { return reinterpret_cast<V16>(reinterpret_cast<I16>(a) & splat_int(0x7fffffff)); }

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
  I16 exponent = reinterpret_cast<I16>(shifted) << 23;
  return reinterpret_cast<V16>(reinterpret_cast<I16>(p) + exponent);
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
