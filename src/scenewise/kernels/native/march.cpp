// Ray marching of features and densities on occupied voxels, and its gradients; see kernels/march.
//
// How it is organised, and why it is fast:
//   * Voxels are found through bricks of 4³: a hash of the bricks, a word of occupancy each, and the rank of a bit in it.  All of
//     that fits the second-level cache, and a brick that is not there answers for all of its voxels.
//   * Samples in the same cell between eight voxel centres share one look-up, and neighbouring cells share corners: a ray becomes
//     a short list of (voxel, coefficient), each voxel once, because a straight line meets the cells around a voxel one after the
//     other.  Features are read only for that list.
//   * Backward, the lists of all rays are sorted by bucket, a range of voxels whose gradients fit the second-level cache.  A
//     bucket belongs to one thread, which adds up in the order of the rays: bits do not depend on the number of threads.
#include <algorithm>
#include <vector>

#include "common.h"

// Mirror kernels/march/native.py.
struct MarchVolume {
  int64_t voxels, channels, batch_size, stride, table_bits;
  const int64_t* bricks;   // [bricks, 3]: key, occupied voxels, row of the first one
  const int32_t* table;    // [2^table_bits]: brick, or −1
  const float* densities;  // [voxels]
  const float* features;   // [voxels, channels]
};
struct MarchRays {
  int64_t rays, samples;
  const double *origins, *directions;  // [rays, 3]
  const int64_t* batch;                // [rays]
  const float *distances, *lengths;    // [rays, samples]
};
// What the loss says of each output; null where nothing.
struct MarchUpstream {
  const float *features, *alpha, *depth, *weights;
};

namespace sw {
namespace {

constexpr int64_t kRays = 64;             // of a chunk
constexpr int64_t kBucketBytes = 131072;  // gradients of the features of a bucket
constexpr int kBias = 1 << 17;            // makes coordinates non-negative; a multiple of a brick's edge
constexpr double kLowest = 1 - kBias, kHighest = kBias - 2;
constexpr int32_t kNowhere = INT32_MIN;
constexpr float kLeastLeft = 1e-9f;  // a ray of which less is left ends: float32 would not see what follows
constexpr float kLeastMass = 1e-12f;

// ---------------------------------------------------------------------------------------------------------------- voxels

SW_INLINE uint64_t brick_key(uint64_t batch, uint64_t x, uint64_t y, uint64_t z) { return batch << 48 | x << 32 | y << 16 | z; }
SW_INLINE size_t slot_of(uint64_t key, int64_t bits) { return (key * 0x9e3779b97f4a7c15ull) >> (64 - bits); }
SW_INLINE uint32_t biased(int32_t coordinate) { return static_cast<uint32_t>(coordinate + kBias); }
SW_INLINE int place_in_brick(uint32_t x, uint32_t y, uint32_t z) { return (x & 3) << 4 | (y & 3) << 2 | (z & 3); }

int64_t find_brick(const MarchVolume& volume, uint64_t key) {
  const size_t mask = (size_t{1} << volume.table_bits) - 1;
  for (size_t slot = slot_of(key, volume.table_bits);; slot = (slot + 1) & mask) {
    const int32_t brick = volume.table[slot];
    if (brick < 0 || static_cast<uint64_t>(volume.bricks[3 * brick]) == key) return brick;
  }
}

// A cell between eight voxel centres; corner k is (k >> 2 & 1, k >> 1 & 1, k & 1) from the lowest one.
struct Cell {
  int32_t place[3];
  int32_t rows[8];     // −1 where empty
  int32_t entries[8];  // of the ray's list; −1 where none
};

// Which corner of a cell is corner k of the cell at a step of −1, 0 or 1 on each axis from it, or −1.
struct SharedCorners {
  int8_t of[27][8];
  SharedCorners() {
    for (int step = 0; step < 27; ++step)
      for (int k = 0; k < 8; ++k) {
        const int x = (k >> 2) + step / 9 - 1, y = (k >> 1 & 1) + step / 3 % 3 - 1, z = (k & 1) + step % 3 - 1;
        of[step][k] = static_cast<int8_t>((x | y | z) & ~1 ? -1 : x * 4 + y * 2 + z);
      }
  }
};
const SharedCorners kShared;

// The corners that two cells have in common, or null.
const int8_t* shared_corners(const int32_t* from, const int32_t* to) {
  const int64_t x = int64_t{to[0]} - from[0] + 1, y = int64_t{to[1]} - from[1] + 1, z = int64_t{to[2]} - from[2] + 1;
  if (x < 0 || y < 0 || z < 0 || x > 2 || y > 2 || z > 2) return nullptr;
  return kShared.of[x * 9 + y * 3 + z];
}

// Finds the rows of a cell's corners; false where all are empty, and then the rows are not written.
SW_INLINE bool find_rows(const MarchVolume& volume, int64_t batch, Cell& cell) {
  const uint32_t low[3] = {biased(cell.place[0]), biased(cell.place[1]), biased(cell.place[2])};
  // Axes along which the upper corners lie in the next brick, in the bits of a corner.
  const int beyond = ((low[0] & 3) == 3) << 2 | ((low[1] & 3) == 3) << 1 | ((low[2] & 3) == 3);
  const int64_t* bricks[8];
  bool any = false;
  for (int k = beyond;; k = (k - 1) & beyond) {
    const uint64_t key = brick_key(batch, (low[0] + (k >> 2)) >> 2, (low[1] + (k >> 1 & 1)) >> 2, (low[2] + (k & 1)) >> 2);
    const int64_t brick = find_brick(volume, key);
    bricks[k] = brick < 0 ? nullptr : volume.bricks + 3 * brick;
    any |= brick >= 0;
    if (k == 0) break;
  }
  if (!any) return false;
  any = false;
  for (int k = 0; k < 8; ++k) {
    const int64_t* brick = bricks[k & beyond];
    cell.rows[k] = -1;
    if (brick == nullptr) continue;
    const uint64_t occupied = static_cast<uint64_t>(brick[1]);
    const uint64_t bit = uint64_t{1} << place_in_brick(low[0] + (k >> 2), low[1] + (k >> 1 & 1), low[2] + (k & 1));
    if ((occupied & bit) == 0) continue;
    cell.rows[k] = static_cast<int32_t>(brick[2] + __builtin_popcountll(occupied & (bit - 1)));
    any = true;
  }
  return any;
}

// ------------------------------------------------------------------------------------------------------------------ a ray

// 1 − exp(−x) for x ≥ 0 and exp(−x), both to a few units in the last place.
SW_INLINE void absorbed(V16 x, V16& lost, V16& left) {
  V16 series = splat(1.0f / 40320.0f);
  for (const float term : {-1.0f / 5040.0f, 1.0f / 720.0f, -1.0f / 120.0f, 1.0f / 24.0f, -1.0f / 6.0f, 0.5f, -1.0f})
    series = series * x + splat(term);
  const V16 little = -x * series;
  const V16 power = exp2_fast(vmax(x * splat(-1.44269504f), splat(-126.0f)));
  const I16 is_little = x < splat(0.5f);
  left = select(is_little, splat(1.0f) - little, select(x > splat(87.0f), splat(0.0f), power));
  lost = select(is_little, little, splat(1.0f) - left);
}

SW_INLINE float blend(float t, float a, float b) { return (1.0f - t) * a + t * b; }
SW_INLINE float trilinear(const float* at, float x, float y, float z) {
  const float low = blend(y, blend(z, at[0], at[1]), blend(z, at[2], at[3]));
  return blend(x, low, blend(y, blend(z, at[4], at[5]), blend(z, at[6], at[7])));
}
SW_INLINE void corner_weights(float x, float y, float z, float* weights) {
  const float pairs[4] = {(1.0f - y) * (1.0f - z), (1.0f - y) * z, y * (1.0f - z), y * z};
  for (int k = 0; k < 4; ++k) weights[k] = (1.0f - x) * pairs[k], weights[4 + k] = x * pairs[k];
}

// Consecutive samples of a ray in one cell.
struct Run {
  int64_t begin, end;
  Cell cell;
};

// A voxel of a ray: what the ray's feature has of the voxel's, and the gradient of the voxel's density.
struct Entry {
  int32_t row, ray;
  float coefficient, density;
};

// One ray after another, in memory that is asked for once.
class Path {
 public:
  Path(const MarchVolume& volume, const MarchRays& rays)
      : volume_(volume), rays_(rays), padded_((rays.samples + 15) / 16 * 16), cells_(3 * padded_), fractions_(3 * padded_),
        mass_(padded_), extinction_(padded_), lost_(padded_), left_(padded_), after_(padded_), weights_(padded_) {}

  const float* weights() const { return weights_.data(); }

  // Finds cells and weights; runs without an occupied corner are left out.
  void march(int64_t ray) {
    const int64_t s = rays_.samples;
    std::fill(extinction_.begin(), extinction_.end(), 0.0f);
    locate(ray);
    find_runs(ray, nullptr);
    const double* d = rays_.directions + 3 * ray;
    speed_ = static_cast<float>(std::sqrt(d[0] * d[0] + d[1] * d[1] + d[2] * d[2]));
    for (const Run& run : runs_) {
      float density[8], exists[8];
      for (int k = 0; k < 8; ++k) {
        const int32_t row = run.cell.rows[k];
        exists[k] = row >= 0 ? 1.0f : 0.0f;
        density[k] = row >= 0 ? volume_.densities[row] : 0.0f;
      }
      for (int64_t i = run.begin; i < run.end; ++i) {
        const float x = fractions_[i], y = fractions_[padded_ + i], z = fractions_[2 * padded_ + i];
        mass_[i] = trilinear(exists, x, y, z);
        extinction_[i] = trilinear(density, x, y, z) * (rays_.lengths[ray * s + i] * speed_);
      }
    }
    for (int64_t i = 0; i < padded_; i += 16) {
      V16 lost, left;
      absorbed(load(&extinction_[i]), lost, left);
      store(&lost_[i], lost), store(&left_[i], left);
    }
    float left = 1.0f;
    for (int64_t i = 0; i < s; ++i) {
      weights_[i] = left * lost_[i];
      left *= left_[i];
      if (left < kLeastLeft) left = 0.0f;
      after_[i] = left;
    }
  }

  // Finds the cells of samples whose weight is known and not zero.
  void follow(int64_t ray, const float* weights) {
    locate(ray);
    std::copy(weights, weights + rays_.samples, weights_.begin());
    find_runs(ray, weights);
    for (const Run& run : runs_) {
      float exists[8];
      for (int k = 0; k < 8; ++k) exists[k] = run.cell.rows[k] >= 0 ? 1.0f : 0.0f;
      for (int64_t i = run.begin; i < run.end; ++i)
        mass_[i] = trilinear(exists, fractions_[i], fractions_[padded_ + i], fractions_[2 * padded_ + i]);
    }
  }

  // Appends the ray's voxels: those its feature has something of, or all around its samples.
  void list(int64_t ray, bool all, std::vector<Entry>& entries) {
    const Run* before = nullptr;
    for (Run& run : runs_) {
      float sum[8] = {};
      for (int64_t i = run.begin; i < run.end; ++i) {
        if (weights_[i] == 0.0f) continue;
        float weights[8];
        corner_weights(fractions_[i], fractions_[padded_ + i], fractions_[2 * padded_ + i], weights);
        const float share = weights_[i] / std::max(mass_[i], kLeastMass);
        for (int k = 0; k < 8; ++k) sum[k] += share * weights[k];
      }
      const int8_t* shared = before == nullptr ? nullptr : shared_corners(before->cell.place, run.cell.place);
      for (int k = 0; k < 8; ++k) {
        const int32_t row = run.cell.rows[k];
        int32_t entry = row >= 0 && shared != nullptr && shared[k] >= 0 ? before->cell.entries[shared[k]] : -1;
        if (row >= 0 && (all || sum[k] != 0.0f)) {
          if (entry < 0) {
            entry = static_cast<int32_t>(entries.size());
            entries.push_back({row, static_cast<int32_t>(ray), 0.0f, 0.0f});
          }
          entries[entry].coefficient += sum[k];
        }
        run.cell.entries[k] = entry;
      }
      before = &run;
    }
  }

  // Gradients of the densities, from ⟨gradient of the ray's feature, feature⟩ of its entries; the list holds all voxels.
  //   x = extinction·length, w_i = T_i (1 − exp(−x_i)):  ∂L/∂x_i = g_i T_{i+1} − Σ_{j>i} g_j w_j,  g_i = ∂L/∂w_i
  void add_density_gradients(int64_t ray, const MarchUpstream& upstream, const std::vector<float>& products,
                             size_t first, std::vector<Entry>& entries) const {
    const int64_t s = rays_.samples;
    const float of_alpha = upstream.alpha == nullptr ? 0.0f : upstream.alpha[ray];
    const float of_depth = upstream.depth == nullptr ? 0.0f : upstream.depth[ray];
    float behind = 0.0f;
    for (auto run = runs_.rbegin(); run != runs_.rend(); ++run) {
      float product[8], sum[8] = {};
      for (int k = 0; k < 8; ++k) product[k] = run->cell.rows[k] >= 0 ? products[run->cell.entries[k] - first] : 0.0f;
      for (int64_t i = run->end - 1; i >= run->begin; --i) {
        float weights[8], of_feature = 0.0f;
        corner_weights(fractions_[i], fractions_[padded_ + i], fractions_[2 * padded_ + i], weights);
        for (int k = 0; k < 8; ++k) of_feature += weights[k] * product[k];
        float g = of_feature / std::max(mass_[i], kLeastMass) + of_alpha + of_depth * rays_.distances[ray * s + i];
        if (upstream.weights != nullptr) g += upstream.weights[ray * s + i];
        const float of_density = (g * after_[i] - behind) * (rays_.lengths[ray * s + i] * speed_);
        behind += g * weights_[i];
        for (int k = 0; k < 8; ++k) sum[k] += of_density * weights[k];
      }
      for (int k = 0; k < 8; ++k)
        if (run->cell.rows[k] >= 0) entries[run->cell.entries[k]].density += sum[k];
    }
  }

 private:
  // Cells of all samples and where in them they are.  In double precision: the fraction is what is left of a large number.
  void locate(int64_t ray) {
    const float* t = rays_.distances + ray * rays_.samples;
    for (int axis = 0; axis < 3; ++axis) {
      const double scale = 1.0 / static_cast<double>(volume_.stride);
      const double origin = rays_.origins[3 * ray + axis], step = rays_.directions[3 * ray + axis];
      int32_t* cells = cells_.data() + axis * padded_;
      float* fractions = fractions_.data() + axis * padded_;
      for (int64_t i = 0; i < rays_.samples; ++i) {
        const double place = (origin + static_cast<double>(t[i]) * step) * scale - 0.5;
        const double inside = place > kLowest && place < kHighest ? place : kLowest;  // NaN is outside too
        const double cell = std::floor(inside);
        cells[i] = place > kLowest && place < kHighest ? static_cast<int32_t>(cell) : kNowhere;
        fractions[i] = static_cast<float>(inside - cell);
      }
    }
  }

  void find_runs(int64_t ray, const float* weights) {
    runs_.clear();
    const int64_t batch = rays_.batch[ray], s = rays_.samples;
    if (batch < 0 || batch >= volume_.batch_size) return;
    const int32_t *x = cells_.data(), *y = x + padded_, *z = y + padded_;
    Run run;
    for (run.begin = 0; run.begin < s; run.begin = run.end) {
      const int64_t begin = run.begin;
      const int32_t place[3] = {x[begin], y[begin], z[begin]};
      int64_t& end = run.end;
      for (end = begin + 1; end < s && x[end] == place[0] && y[end] == place[1] && z[end] == place[2];) ++end;
      if (place[0] == kNowhere || place[1] == kNowhere || place[2] == kNowhere) continue;
      if (weights != nullptr && std::all_of(weights + begin, weights + end, [](float w) { return w == 0.0f; })) continue;
      std::copy(place, place + 3, run.cell.place);
      if (find_rows(volume_, batch, run.cell)) runs_.push_back(run);
    }
  }

  const MarchVolume& volume_;
  const MarchRays& rays_;
  int64_t padded_;
  float speed_ = 0.0f;
  std::vector<int32_t> cells_;
  std::vector<float> fractions_, mass_, extinction_, lost_, left_, after_, weights_;
  std::vector<Run> runs_;
};

// --------------------------------------------------------------------------------------------------------------- channels

// Calls part(first channel, number of registers) while a register can be filled, then rest(channel) for every channel left.
template <int Most, class Part, class Rest>
SW_INLINE void over_channels(int64_t channels, const Part& part, const Rest& rest) {
  int64_t at = 0;
  const auto take = [&](auto registers) {
    for (; at + registers() * kNativeLanes <= channels; at += registers() * kNativeLanes) part(at, registers);
  };
  take(std::integral_constant<int, Most>());
  if constexpr (Most > 4) take(std::integral_constant<int, 4>());
  if constexpr (Most > 2) take(std::integral_constant<int, 2>());
  take(std::integral_constant<int, 1>());
  for (; at < channels; ++at) rest(at);
}

void sum_features(const MarchVolume& volume, const Entry* entries, int64_t count, float* out) {
  const int64_t c = volume.channels;
  over_channels<8>(
      c,
      [&](int64_t at, auto registers) {
        Native sum[registers()] = {};
        for (int64_t e = 0; e < count; ++e) {
          const float* row = volume.features + entries[e].row * c + at;
          const Native coefficient = splat_native(entries[e].coefficient);
          for (int j = 0; j < registers(); ++j) sum[j] += coefficient * load_native(row + j * kNativeLanes);
        }
        for (int j = 0; j < registers(); ++j) store(out + at + j * kNativeLanes, sum[j]);
      },
      [&](int64_t at) {
        float sum = 0.0f;
        for (int64_t e = 0; e < count; ++e) sum += entries[e].coefficient * volume.features[entries[e].row * c + at];
        out[at] = sum;
      });
}

void add_scaled(int64_t channels, float factor, const float* from, float* to) {
  const Native factors = splat_native(factor);
  over_channels<4>(
      channels,
      [&](int64_t at, auto registers) {
        for (int j = 0; j < registers(); ++j) {
          const int64_t i = at + j * kNativeLanes;
          store(to + i, load_native(to + i) + factors * load_native(from + i));
        }
      },
      [&](int64_t at) { to[at] += factor * from[at]; });
}

float product(int64_t channels, const float* a, const float* b) {
  Native sums = {};
  float sum = 0.0f;
  over_channels<1>(
      channels, [&](int64_t at, auto) { sums += load_native(a + at) * load_native(b + at); },
      [&](int64_t at) { sum += a[at] * b[at]; });
  for (int i = 0; i < kNativeLanes; ++i) sum += sums[i];
  return sum;
}

int64_t chunks_of(const MarchRays& rays) { return (rays.rays + kRays - 1) / kRays; }

// All entries, by bucket of 2^shift voxels and then in the order of the rays.
struct Buckets {
  int shift = 0;
  int64_t count = 0;
  std::vector<int64_t> first;  // [count + 1]
  std::vector<Entry> entries;

  Buckets(const MarchVolume& volume, const std::vector<std::vector<Entry>>& of_chunks) {
    while ((int64_t{8} << shift) * std::max<int64_t>(volume.channels, 1) <= kBucketBytes) ++shift;
    count = (volume.voxels + (int64_t{1} << shift) - 1) >> shift;
    const int64_t chunks = static_cast<int64_t>(of_chunks.size());
    std::vector<int64_t> places(chunks * count);
    parallel_for(chunks, [&](int64_t chunk) {
      for (const Entry& entry : of_chunks[chunk]) ++places[chunk * count + (entry.row >> shift)];
    });
    int64_t next = 0;
    for (int64_t b = 0; b < count; ++b) {
      first.push_back(next);
      for (int64_t chunk = 0; chunk < chunks; ++chunk) {
        const int64_t here = places[chunk * count + b];
        places[chunk * count + b] = next;
        next += here;
      }
    }
    first.push_back(next);
    entries.resize(next);
    parallel_for(chunks, [&](int64_t chunk) {
      for (const Entry& entry : of_chunks[chunk]) entries[places[chunk * count + (entry.row >> shift)]++] = entry;
    });
  }
};

}  // namespace
}  // namespace sw

using namespace sw;

// Bricks of voxels in their order (sparse_maps.cpp): up to one for each of the [v, 4] rows.  Returns their number.
SW_EXPORT int64_t sw_march_bricks(int64_t v, const int32_t* coords, int64_t* bricks) {
  int64_t count = 0;
  uint64_t last = ~uint64_t{0};
  for (int64_t row = 0; row < v; ++row) {
    const int32_t* at = coords + 4 * row;
    const uint32_t x = biased(at[1]), y = biased(at[2]), z = biased(at[3]);
    const uint64_t key = brick_key(at[0], x >> 2, y >> 2, z >> 2);
    if (key != last) {
      int64_t* brick = bricks + 3 * count++;
      brick[0] = static_cast<int64_t>(key), brick[1] = 0, brick[2] = row;
      last = key;
    }
    bricks[3 * count - 2] |= static_cast<int64_t>(uint64_t{1} << place_in_brick(x, y, z));
  }
  return count;
}

// The hash table of `count` bricks, of 2^bits > count places.
SW_EXPORT void sw_march_table(int64_t count, const int64_t* bricks, int64_t bits, int32_t* table) {
  const size_t mask = (size_t{1} << bits) - 1;
  std::fill(table, table + mask + 1, -1);
  for (int64_t brick = 0; brick < count; ++brick) {
    size_t slot = slot_of(static_cast<uint64_t>(bricks[3 * brick]), bits);
    while (table[slot] >= 0) slot = (slot + 1) & mask;
    table[slot] = static_cast<int32_t>(brick);
  }
}

// out: [rays, channels]; alpha, depth: [rays]; weights: [rays, samples].
SW_EXPORT void sw_march(const MarchVolume* volume, const MarchRays* rays, float* out, float* alpha, float* depth,
                        float* weights) {
  const int64_t s = rays->samples;
  parallel_for(chunks_of(*rays), [&](int64_t chunk) {
    Path path(*volume, *rays);
    std::vector<Entry> entries;
    for (int64_t ray = chunk * kRays; ray < std::min(rays->rays, (chunk + 1) * kRays); ++ray) {
      path.march(ray);
      float sum = 0.0f, distance = 0.0f;
      for (int64_t i = 0; i < s; ++i) {
        const float weight = path.weights()[i];
        weights[ray * s + i] = weight;
        sum += weight;
        if (weight != 0.0f) distance += weight * rays->distances[ray * s + i];
      }
      alpha[ray] = sum, depth[ray] = distance;
      entries.clear();
      path.list(ray, false, entries);
      sum_features(*volume, entries.data(), static_cast<int64_t>(entries.size()), out + ray * volume->channels);
    }
  });
}

// Gradients, [voxels, channels] and [voxels]; either may be null.  `weights` are those that sw_march returned.
SW_EXPORT void sw_march_gradient(const MarchVolume* volume, const MarchRays* rays, const float* weights,
                                 const MarchUpstream* upstream, float* d_features, float* d_densities) {
  const int64_t c = volume->channels;
  std::vector<std::vector<Entry>> of_chunks(chunks_of(*rays));
  parallel_for(chunks_of(*rays), [&](int64_t chunk) {
    Path path(*volume, *rays);
    std::vector<Entry>& entries = of_chunks[chunk];
    std::vector<float> products;
    for (int64_t ray = chunk * kRays; ray < std::min(rays->rays, (chunk + 1) * kRays); ++ray) {
      if (d_densities == nullptr) {
        path.follow(ray, weights + ray * rays->samples);
        path.list(ray, false, entries);
        continue;
      }
      const size_t first = entries.size();
      path.march(ray);
      path.list(ray, true, entries);
      products.assign(entries.size() - first, 0.0f);
      if (upstream->features != nullptr)
        for (size_t e = first; e < entries.size(); ++e)
          products[e - first] = product(c, upstream->features + ray * c, volume->features + entries[e].row * c);
      path.add_density_gradients(ray, *upstream, products, first, entries);
    }
  });
  const Buckets buckets(*volume, of_chunks);
  parallel_for(buckets.count, [&](int64_t b) {
    const int64_t begin = b << buckets.shift, end = std::min(volume->voxels, (b + 1) << buckets.shift);
    if (d_features != nullptr) std::fill(d_features + begin * c, d_features + end * c, 0.0f);
    if (d_densities != nullptr) std::fill(d_densities + begin, d_densities + end, 0.0f);
    for (int64_t e = buckets.first[b]; e < buckets.first[b + 1]; ++e) {
      const Entry& entry = buckets.entries[e];
      if (d_densities != nullptr) d_densities[entry.row] += entry.density;
      if (d_features != nullptr && entry.coefficient != 0.0f && upstream->features != nullptr)
        add_scaled(c, entry.coefficient, upstream->features + entry.ray * c, d_features + entry.row * c);
    }
  });
}
