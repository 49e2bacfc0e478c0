// Least squares of a quadratic RGB → RGB map: normal equations in one pass over the pixels, and the map itself.
//
// The 10×10 normal matrix of (r², rg, rb, g², gb, b², r, g, b, 1) holds no more than the 35 sums of r^i g^j b^k with i + j + k ≤ 4.
// Everything is double: near-grey pictures make the matrix nearly singular.
#include "common.h"

#include <vector>

namespace sw {
namespace {

constexpr int kLanes = kNativeLanes / 2;
typedef double Doubles __attribute__((vector_size(8 * kLanes)));
typedef double DoublesU __attribute__((vector_size(8 * kLanes), aligned(8)));

constexpr int64_t kGrain = 1 << 14;
constexpr int kDegree = 4, kTerms = 10, kMoments = 35;
constexpr int kExponents[kTerms][3] = {{2, 0, 0}, {1, 1, 0}, {1, 0, 1}, {0, 2, 0}, {0, 1, 1},
                                       {0, 0, 2}, {1, 0, 0}, {0, 1, 0}, {0, 0, 1}, {0, 0, 0}};

// Two registers of pixels, added before they go to a sum: the sums are too many for registers, and going to memory and back is what
// takes time.
struct Pair {
  Doubles low, high;
  friend SW_INLINE Pair operator*(Pair a, Pair b) { return {a.low * b.low, a.high * b.high}; }
};
constexpr int kGroup = 2 * kLanes;
SW_INLINE void add_to(Doubles& sum, Pair v) { sum += v.low + v.high; }

SW_INLINE Doubles load_doubles(const double* p) { return *reinterpret_cast<const DoublesU*>(p); }
SW_INLINE Pair load_pair(const double* p) { return {load_doubles(p), load_doubles(p + kLanes)}; }

// What one channel's equations are made of; the lanes of each sum are added when a chunk ends.
struct Sums {
  Doubles moments[kMoments] = {};
  Doubles right[kTerms] = {};
};

constexpr int kAbove[kDegree + 1] = {0, 15, 25, 31, 34};  // where the sums with r^i begin: 15, 10, 6, 3 and 1 of them

// Place of r^i g^j b^k: by i, then j, then k.
constexpr int moment_index(int i, int j, int k) {
  int index = kAbove[i];
  for (int below = 0; below < j; ++below) index += kDegree - i - below + 1;
  return index + k;
}

// The loops over j, k and i by templates, so that every sum has a fixed place.
template <int Count>
SW_INLINE void add_powers(Doubles* sums, Pair value, Pair b) {
  add_to(*sums, value);
  if constexpr (Count > 1) add_powers<Count - 1>(sums + 1, value * b, b);
}
template <int Rest>
SW_INLINE void add_products(Doubles* sums, Pair value, Pair g, Pair b) {
  add_powers<Rest + 1>(sums, value, b);
  if constexpr (Rest > 0) add_products<Rest - 1>(sums + Rest + 1, value * g, g, b);
}
SW_INLINE void add_moments(Doubles* sums, Pair weight, Pair r, Pair g, Pair b) {
  const Pair r1 = weight * r, r2 = r1 * r, r3 = r2 * r;
  add_products<4>(sums + kAbove[0], weight, g, b);
  add_products<3>(sums + kAbove[1], r1, g, b);
  add_products<2>(sums + kAbove[2], r2, g, b);
  add_products<1>(sums + kAbove[3], r3, g, b);
  add_products<0>(sums + kAbove[4], r3 * r, g, b);
}

SW_INLINE void add_right(Doubles* right, Pair value, Pair r, Pair g, Pair b) {
  const Pair red = value * r, green = value * g, blue = value * b;
  add_to(right[0], red * r), add_to(right[1], red * g), add_to(right[2], red * b), add_to(right[3], green * g);
  add_to(right[4], green * b), add_to(right[5], blue * b), add_to(right[6], red), add_to(right[7], green);
  add_to(right[8], blue), add_to(right[9], value);
}

SW_INLINE double total(Doubles lanes) {
  double sum = 0;
  for (int i = 0; i < kLanes; ++i) sum += lanes[i];
  return sum;
}

// Some pixels of one call, copied and filled up to whole vectors; `kept` is 0 where a pixel does not count for a channel.
struct Chunk {
  static constexpr int kSize = kGrain + kGroup;
  uint8_t kept[3][kSize];
  Sums shared, channels[3];  // shared: of vectors of pixels that all count in all channels
  Doubles shared_right[3][kTerms] = {};

  SW_INLINE void add_whole(const Pair* color, const Pair* target) {
    Doubles one;
    for (int i = 0; i < kLanes; ++i) one[i] = 1.0;
    add_moments(shared.moments, {one, one}, color[0], color[1], color[2]);
    for (int c = 0; c < 3; ++c) add_right(shared_right[c], target[c], color[0], color[1], color[2]);
  }

  void add_some(const Pair* color, const Pair* target, int64_t at) {
    for (int c = 0; c < 3; ++c) {
      double weights[kGroup];
      for (int lane = 0; lane < kGroup; ++lane) weights[lane] = kept[c][at + lane];
      const Pair weight = load_pair(weights);
      add_moments(channels[c].moments, weight, color[0], color[1], color[2]);
      add_right(channels[c].right, weight * target[c], color[0], color[1], color[2]);
    }
  }

  // How many of the marks of a group at a place are set, over the three channels.
  SW_INLINE int count(int64_t at) const {
    int found = 0;
    for (int c = 0; c < 3; ++c) {
      uint64_t marks[2] = {0, 0};
      std::memcpy(marks, kept[c] + at, kGroup);
      found += __builtin_popcountll(marks[0]) + __builtin_popcountll(marks[1]);
    }
    return found;
  }

  void finish(double (*out)[kMoments + kTerms]) const {
    for (int c = 0; c < 3; ++c) {
      for (int m = 0; m < kMoments; ++m) out[c][m] = total(shared.moments[m]) + total(channels[c].moments[m]);
      for (int t = 0; t < kTerms; ++t) out[c][kMoments + t] = total(shared_right[c][t]) + total(channels[c].right[t]);
    }
  }
};

struct Pixels {
  int64_t n;
  const double *colors, *target;
  const uint8_t* usable;
  double dark, bright;

  void add_range(int64_t begin, int64_t end, Chunk& chunk) const {
    const int64_t size = end - begin, whole = size / kGroup * kGroup;
    for (int c = 0; c < 3; ++c) {
      const double* color = colors + c * n + begin;
      const uint8_t* may = usable + c * n + begin;
      for (int64_t i = 0; i < size; ++i) chunk.kept[c][i] = may[i] & (color[i] > dark) & (color[i] < bright);
      std::memset(chunk.kept[c] + size, 0, kGroup);
    }
    for (int64_t i = 0; i < whole; i += kGroup) add(begin + i, i, chunk);
    if (whole < size) add_rest(begin + whole, size - whole, whole, chunk);
  }

  SW_INLINE void add(int64_t pixel, int64_t at, Chunk& chunk) const {
    const int found = chunk.count(at);
    if (found == 0) return;
    Pair color[3], wanted[3];
    for (int c = 0; c < 3; ++c) color[c] = load_pair(colors + c * n + pixel), wanted[c] = load_pair(target + c * n + pixel);
    if (found == 3 * kGroup)
      chunk.add_whole(color, wanted);
    else
      chunk.add_some(color, wanted, at);
  }

  void add_rest(int64_t pixel, int64_t count, int64_t at, Chunk& chunk) const {
    Pair color[3], wanted[3];
    for (int c = 0; c < 3; ++c) {
      double colors_here[kGroup] = {}, wanted_here[kGroup] = {};
      std::memcpy(colors_here, colors + c * n + pixel, count * sizeof(double));
      std::memcpy(wanted_here, target + c * n + pixel, count * sizeof(double));
      color[c] = load_pair(colors_here), wanted[c] = load_pair(wanted_here);
    }
    chunk.add_some(color, wanted, at);
  }
};

}  // namespace
}  // namespace sw

// colors, target: [3, n]; usable: [3, n], 0 or 1; matrices: [3, 10, 10]; right_sides: [3, 10].
SW_EXPORT void sw_color_equations(int64_t n, const double* colors, const double* target, const uint8_t* usable, double dark,
                                  double bright, double* matrices, double* right_sides) {
  using namespace sw;
  constexpr int kSums = kMoments + kTerms;
  const int64_t chunks = (n + kGrain - 1) / kGrain;
  std::vector<double> parts(static_cast<size_t>(chunks) * 3 * kSums);
  const Pixels pixels{n, colors, target, usable, dark, bright};
  parallel_for(chunks, [&](int64_t c) {
    Chunk chunk;
    pixels.add_range(c * kGrain, (c + 1) * kGrain < n ? (c + 1) * kGrain : n, chunk);
    chunk.finish(reinterpret_cast<double(*)[kSums]>(parts.data() + c * 3 * kSums));
  });
  std::vector<double> sums(3 * kSums, 0.0);
  for (int64_t c = 0; c < chunks; ++c)
    for (int s = 0; s < 3 * kSums; ++s) sums[s] += parts[c * 3 * kSums + s];
  for (int channel = 0; channel < 3; ++channel) {
    const double* of_channel = sums.data() + channel * kSums;
    for (int row = 0; row < kTerms; ++row) {
      for (int column = 0; column < kTerms; ++column) {
        const int *a = kExponents[row], *b = kExponents[column];
        matrices[(channel * kTerms + row) * kTerms + column] = of_channel[moment_index(a[0] + b[0], a[1] + b[1], a[2] + b[2])];
      }
      right_sides[channel * kTerms + row] = of_channel[kMoments + row];
    }
  }
}

// colors: [3, n], changed in place; weights: [3, 10].  Results are clipped to [0, 1].
SW_EXPORT void sw_color_map(int64_t n, double* colors, const double* weights) {
  sw::parallel_ranges(n, sw::kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const double r = colors[i], g = colors[n + i], b = colors[2 * n + i];
      double mapped[3];
      for (int c = 0; c < 3; ++c) {
        const double* w = weights + c * sw::kTerms;
        const double of_red = r * (w[0] * r + w[1] * g + w[2] * b + w[6]), of_green = g * (w[3] * g + w[4] * b + w[7]);
        const double value = of_red + of_green + b * (w[5] * b + w[8]) + w[9];
        mapped[c] = value < 0.0 ? 0.0 : value > 1.0 ? 1.0 : value;
      }
      colors[i] = mapped[0], colors[n + i] = mapped[1], colors[2 * n + i] = mapped[2];
    }
  });
}
