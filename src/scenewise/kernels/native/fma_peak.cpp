// The processor's limit, measured: what the benchmarks divide by.
#include <ctime>

#include "common.h"

namespace sw {
namespace {

double now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + 1e-9 * t.tv_nsec;
}

// Twelve independent chains: more than latency × units on every processor we know.
__attribute__((noinline)) float chains(int64_t rounds, float seed) {
  Native x[12];
  for (int k = 0; k < 12; ++k) x[k] = splat_native(seed + k);
  const Native a = splat_native(0.999f), b = splat_native(0.001f);
  for (int64_t i = 0; i < rounds; ++i)
    for (int k = 0; k < 12; ++k) x[k] = x[k] * a + b;
  Native sum = x[0];
  for (int k = 1; k < 12; ++k) sum += x[k];
  return sum[0];
}

}  // namespace
}  // namespace sw

// Floating-point operations per second of one thread, best of `repeats` runs of `rounds` rounds.
SW_EXPORT double sw_fma_peak(int64_t rounds, int repeats) {
  double best = 0;
  volatile float sink = 0;
  for (int r = 0; r < repeats; ++r) {
    const double start = sw::now();
    sink = sink + sw::chains(rounds, 1.0f + r);
    const double rate = rounds * 12.0 * sw::kNativeLanes * 2.0 / (sw::now() - start);
    best = rate > best ? rate : best;
  }
  return best;
}
