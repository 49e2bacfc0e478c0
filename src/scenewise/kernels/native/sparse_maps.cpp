// Which voxels of a sparse grid touch: sorting into bricks, coarser grids, and the pairs of rows a convolution adds up.
//
// How it is organised, and why it is fast:
//   * Rows are kept in brick order: 4×4×4 voxels share one 64-bit word of occupancy, bricks follow each other along a Morton curve.
//     The row of a voxel is then (first row of its brick) + popcount(occupied voxels before it): no hash of single voxels.
//   * 4×4×4 bricks form a superbrick with a word of its own, so only superbricks (16³ voxels) are hashed.
//   * The voxels of a brick that have a neighbour at an offset are found for all 64 at once, by shifting the occupancy words of the
//     brick and its neighbours.
// A rule lists (input row, output row) pairs by block of output rows, then by kernel offset.  A block's inputs and outputs stay in
// the second-level cache while its offsets are worked through, and no two blocks write the same row.
#include <algorithm>
#include <vector>

#include "common.h"

namespace sw {
namespace {

constexpr int kBias = 1 << 17;           // makes coordinates non-negative; even, so that parity and floor division survive
constexpr uint32_t kAxisMask = 0x3ffff;  // 18 bits an axis
constexpr int kSortBits = 11, kSortBuckets = 1 << kSortBits;
constexpr int64_t kGrain = 16384;
constexpr uint64_t kMortonX = 0x4924924924924924ull & 0xffffffffffffull;  // x, y, z are bits 2, 1, 0 of every triple
constexpr int kSuperMax = (1 << 14) - 1;  // largest coordinate of a superbrick

SW_INLINE uint64_t spread(uint64_t x) {  // 16 bits, each followed by two zeros
  x = (x | x << 16) & 0x0000ff0000ffull;
  x = (x | x << 8) & 0x00f00f00f00full;
  x = (x | x << 4) & 0x0c30c30c30c3ull;
  return (x | x << 2) & 0x249249249249ull;
}
SW_INLINE int gather_bits(uint64_t x) {  // inverse of spread
  x &= 0x249249249249ull;
  x = (x | x >> 2) & 0x0c30c30c30c3ull;
  x = (x | x >> 4) & 0x00f00f00f00full;
  x = (x | x >> 8) & 0x0000ff0000ffull;
  return static_cast<int>((x | x >> 16) & 0xffff);
}
SW_INLINE uint64_t morton(uint64_t x, uint64_t y, uint64_t z) { return spread(x) << 2 | spread(y) << 1 | spread(z); }

struct Place {
  uint32_t batch, x, y, z;  // biased
  explicit Place(const int32_t* row)
      : batch(row[0]), x((row[1] + kBias) & kAxisMask), y((row[2] + kBias) & kAxisMask), z((row[3] + kBias) & kAxisMask) {}
  uint64_t brick() const { return static_cast<uint64_t>(batch) << 48 | morton(x >> 2, y >> 2, z >> 2); }
  uint32_t inside() const { return (x & 3) << 4 | (y & 3) << 2 | (z & 3); }
  uint64_t key() const { return brick() << 6 | inside(); }
};

SW_INLINE int rank(uint64_t occupied, int bit) { return __builtin_popcountll(occupied & ((1ull << bit) - 1)); }

// Stable radix sort of keys with the index they came from.
void sort_keys(std::vector<uint64_t>& keys, std::vector<int32_t>& order) {
  const int64_t n = static_cast<int64_t>(keys.size());
  uint64_t any = 0, all = ~0ull;
  bool sorted = true;
  for (int64_t i = 0; i < n; ++i) {
    any |= keys[i], all &= keys[i];
    sorted &= i == 0 || keys[i - 1] <= keys[i];
  }
  if (sorted) return;
  const uint64_t differing = any & ~all;
  const int64_t chunks = (n + kGrain - 1) / kGrain;
  std::vector<uint64_t> other_keys(n);
  std::vector<int32_t> other_order(n);
  std::vector<int32_t> places(chunks * kSortBuckets);
  for (int shift = 0; shift < 64; shift += kSortBits) {
    if ((differing >> shift & (kSortBuckets - 1)) == 0) continue;
    std::fill(places.begin(), places.end(), 0);
    parallel_for(chunks, [&](int64_t c) {
      int32_t* count = &places[c * kSortBuckets];
      for (int64_t i = c * kGrain; i < std::min(n, (c + 1) * kGrain); ++i) ++count[keys[i] >> shift & (kSortBuckets - 1)];
    });
    int32_t next = 0;
    for (int bucket = 0; bucket < kSortBuckets; ++bucket)
      for (int64_t c = 0; c < chunks; ++c) {
        const int32_t count = places[c * kSortBuckets + bucket];
        places[c * kSortBuckets + bucket] = next;
        next += count;
      }
    parallel_for(chunks, [&](int64_t c) {
      int32_t* place = &places[c * kSortBuckets];
      for (int64_t i = c * kGrain; i < std::min(n, (c + 1) * kGrain); ++i) {
        const int32_t to = place[keys[i] >> shift & (kSortBuckets - 1)]++;
        other_keys[to] = keys[i];
        other_order[to] = order[i];
      }
    });
    keys.swap(other_keys);
    order.swap(other_order);
  }
}

// Occupied 4×4×4 bricks in order; the last `first` is the number of rows.
struct Bricks {
  std::vector<uint64_t> key, occupied;
  std::vector<int32_t> first;
  int64_t size() const { return static_cast<int64_t>(key.size()); }
  int64_t rows(int64_t brick) const { return first[brick + 1] - first[brick]; }
};

// False unless the rows are unique and in brick order.
bool find_bricks(int64_t n, const int32_t* coords, Bricks& bricks) {
  bricks.key.reserve(n / 4 + 16), bricks.occupied.reserve(n / 4 + 16), bricks.first.reserve(n / 4 + 17);
  uint32_t last_batch = 0, last_x = ~0u, last_y = 0, last_z = 0;
  for (int64_t i = 0; i < n; ++i) {
    const Place place(coords + 4 * i);
    const uint64_t bit = 1ull << place.inside();
    if (place.x >> 2 != last_x || place.y >> 2 != last_y || place.z >> 2 != last_z || place.batch != last_batch) {
      const uint64_t key = place.brick();
      if (!bricks.key.empty() && key <= bricks.key.back()) return false;
      bricks.key.push_back(key), bricks.occupied.push_back(0), bricks.first.push_back(static_cast<int32_t>(i));
      last_batch = place.batch, last_x = place.x >> 2, last_y = place.y >> 2, last_z = place.z >> 2;
    }
    if (bricks.occupied.back() >= bit) return false;
    bricks.occupied.back() |= bit;
  }
  bricks.first.push_back(static_cast<int32_t>(n));
  return true;
}

struct Superbricks {
  std::vector<uint64_t> key, occupied;
  std::vector<int32_t> first;  // brick
  std::vector<int32_t> table;
  int shift = 0;

  explicit Superbricks(const Bricks& bricks) {
    for (int64_t b = 0; b < bricks.size(); ++b) {
      if (key.empty() || key.back() != bricks.key[b] >> 6)
        key.push_back(bricks.key[b] >> 6), occupied.push_back(0), first.push_back(static_cast<int32_t>(b));
      occupied.back() |= 1ull << (bricks.key[b] & 63);
    }
    first.push_back(static_cast<int32_t>(bricks.size()));
    int bits = 4;
    while ((1ull << bits) < 3 * key.size()) ++bits;
    shift = 64 - bits;
    table.assign(1ull << bits, -1);
    for (size_t s = 0; s < key.size(); ++s) {
      size_t place = slot(key[s]);
      while (table[place] >= 0) place = (place + 1) & (table.size() - 1);
      table[place] = static_cast<int32_t>(s);
    }
  }
  int64_t size() const { return static_cast<int64_t>(key.size()); }
  size_t slot(uint64_t k) const { return (k * 0x9e3779b97f4a7c15ull) >> shift; }
  int32_t find(uint64_t k) const {
    for (size_t place = slot(k);; place = (place + 1) & (table.size() - 1)) {
      const int32_t s = table[place];
      if (s < 0 || key[s] == k) return s;
    }
  }
};

// Where a step of −1, 0 or +1 on every axis leads from a cell of a 4×4×4 cube: which of the 27 cubes around, which cell in it.
struct Steps {
  struct Target {
    uint8_t cube, cell;
  };
  Target in_brick[27][64];       // cells numbered x·16 + y·4 + z
  Target in_superbrick[64][27];  // cells numbered along the Morton curve
  Steps() {
    for (int x = 0; x < 4; ++x)
      for (int y = 0; y < 4; ++y)
        for (int z = 0; z < 4; ++z)
          for (int k = 0; k < 27; ++k) {
            const int tx = x + k / 9 - 1 + 4, ty = y + k / 3 % 3 - 1 + 4, tz = z + k % 3 - 1 + 4;
            const uint8_t cube = static_cast<uint8_t>(tx / 4 * 9 + ty / 4 * 3 + tz / 4);
            in_brick[k][x * 16 + y * 4 + z] = {cube, static_cast<uint8_t>(tx % 4 * 16 + ty % 4 * 4 + tz % 4)};
            in_superbrick[morton(x, y, z)][k] = {cube, static_cast<uint8_t>(morton(tx % 4, ty % 4, tz % 4))};
          }
  }
};
const Steps kSteps;

// The 27 cubes around a brick and which of the brick's voxels have a neighbour at each offset.
struct Around {
  uint64_t occupied[27];
  int32_t first[27];
  uint64_t reached[27];

  void find_reached() {
    uint64_t z[9][3], yz[3][9];
    for (int xy = 0; xy < 9; ++xy) {
      const uint64_t before = occupied[xy * 3], here = occupied[xy * 3 + 1], after = occupied[xy * 3 + 2];
      z[xy][0] = (here << 1 & 0xeeeeeeeeeeeeeeeeull) | (before >> 3 & 0x1111111111111111ull);
      z[xy][1] = here;
      z[xy][2] = (here >> 1 & 0x7777777777777777ull) | (after << 3 & 0x8888888888888888ull);
    }
    for (int x = 0; x < 3; ++x)
      for (int dz = 0; dz < 3; ++dz) {
        const uint64_t before = z[x * 3][dz], here = z[x * 3 + 1][dz], after = z[x * 3 + 2][dz];
        yz[x][dz] = (here << 4 & 0xfff0fff0fff0fff0ull) | (before >> 12 & 0x000f000f000f000full);
        yz[x][3 + dz] = here;
        yz[x][6 + dz] = (here >> 4 & 0x0fff0fff0fff0fffull) | (after << 12 & 0xf000f000f000f000ull);
      }
    const uint64_t own = occupied[13];
    for (int k = 0; k < 9; ++k) {
      reached[k] = (yz[1][k] << 16 | yz[0][k] >> 48) & own;
      reached[9 + k] = yz[1][k] & own;
      reached[18 + k] = (yz[1][k] >> 16 | yz[2][k] << 48) & own;
    }
  }
};

// Walks bricks in order and knows the superbricks around the current one.
class Neighbourhood {
 public:
  Neighbourhood(const Bricks& bricks, const Superbricks& supers) : bricks_(bricks), supers_(supers) {}

  void look(int64_t brick, Around& around) {
    const uint64_t super_key = bricks_.key[brick] >> 6;
    if (super_key != current_) enter(super_key);
    const Steps::Target* steps = kSteps.in_superbrick[bricks_.key[brick] & 63];
    for (int k = 0; k < 27; ++k) {
      const Steps::Target to = steps[k];
      const uint64_t occupied = occupied_[to.cube];
      const bool there = occupied >> to.cell & 1;
      const int64_t neighbour = there ? first_[to.cube] + rank(occupied, to.cell) : brick;
      around.occupied[k] = there ? bricks_.occupied[neighbour] : 0;
      around.first[k] = bricks_.first[neighbour];
    }
    around.find_reached();
  }

 private:
  void enter(uint64_t super_key) {
    current_ = super_key;
    const uint64_t batch = super_key >> 42 << 42, curve = super_key & ((1ull << 42) - 1);
    const int x = gather_bits(curve >> 2), y = gather_bits(curve >> 1), z = gather_bits(curve);
    for (int k = 0; k < 27; ++k) {
      const int tx = x + k / 9 - 1, ty = y + k / 3 % 3 - 1, tz = z + k % 3 - 1;
      const bool inside = tx >= 0 && ty >= 0 && tz >= 0 && tx <= kSuperMax && ty <= kSuperMax && tz <= kSuperMax;
      const int32_t s = inside ? supers_.find(batch | morton(tx, ty, tz)) : -1;
      occupied_[k] = s < 0 ? 0 : supers_.occupied[s];
      first_[k] = s < 0 ? 0 : supers_.first[s];
    }
  }

  const Bricks& bricks_;
  const Superbricks& supers_;
  uint64_t current_ = ~0ull;
  uint64_t occupied_[27];
  int32_t first_[27];
};

// Bricks at which blocks of at most `block_rows` rows begin (more only where one brick alone has more); ends with their number.
std::vector<int64_t> cut_blocks(const Bricks& bricks, int64_t block_rows) {
  std::vector<int64_t> starts{0};
  for (int64_t b = 1; b < bricks.size(); ++b)
    if (bricks.first[b + 1] - bricks.first[starts.back()] > block_rows) starts.push_back(b);
  if (bricks.size() > 0) starts.push_back(bricks.size());
  return starts;
}

}  // namespace
}  // namespace sw

using namespace sw;

// Sorts points into brick order and merges equal ones.  `sorted_coords` [n, 4] and `counts` [n] are filled up to the number of
// voxels, which is returned.
SW_EXPORT int64_t sw_sorted_voxels(int64_t n, const int32_t* coords, int32_t* sorted_coords, int64_t* voxel_of_point, int64_t* counts) {
  std::vector<uint64_t> keys(n);
  std::vector<int32_t> order(n);
  parallel_ranges(n, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) keys[i] = Place(coords + 4 * i).key(), order[i] = static_cast<int32_t>(i);
  });
  sort_keys(keys, order);
  int64_t voxels = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (i == 0 || keys[i] != keys[i - 1]) {
      std::memcpy(sorted_coords + 4 * voxels, coords + 4 * static_cast<int64_t>(order[i]), 16);
      counts[voxels++] = 0;
    }
    ++counts[voxels - 1];
    voxel_of_point[order[i]] = voxels - 1;
  }
  return voxels;
}

// Voxels of twice the edge.  `parent_coords` [v, 4] is filled up to their number, which is returned; −1 where the rows are not
// unique and in brick order.
SW_EXPORT int64_t sw_down_voxels(int64_t v, const int32_t* coords, int32_t* parent_coords, int64_t* parent, int64_t* child) {
  Bricks fine;
  if (!find_bricks(v, coords, fine)) return -1;
  // The curve's order survives halving, so a coarse brick's (up to eight) fine bricks are neighbours in the list.
  int64_t coarse_rows = 0;
  for (int64_t begin = 0, end; begin < fine.size(); begin = end) {
    const auto coarse_key = [&](int64_t b) { return fine.key[b] >> 48 << 48 | (fine.key[b] & 0xffffffffffffull) >> 3; };
    uint64_t occupied = 0;
    for (end = begin; end < fine.size() && coarse_key(end) == coarse_key(begin); ++end) {
      const int octant = fine.key[end] & 7;
      // A fine voxel's two coarse bits per axis are the brick's octant bit and the upper one of its own two.
      uint64_t pairs = fine.occupied[end];
      pairs |= pairs >> 16 | pairs >> 4 | pairs >> 20;
      pairs = (pairs | pairs >> 1) & 0x0000050500000505ull;  // x, y, z even
      const int base = (octant >> 2 & 1) * 32 + (octant >> 1 & 1) * 8 + (octant & 1) * 2;
      for (; pairs != 0; pairs &= pairs - 1) {
        const int bit = __builtin_ctzll(pairs);
        occupied |= 1ull << (base + (bit >> 5) * 16 + (bit >> 3 & 1) * 4 + (bit >> 1 & 1));
      }
    }
    for (int64_t b = begin; b < end; ++b) {
      const int octant = fine.key[b] & 7;
      const int base = (octant >> 2 & 1) * 32 + (octant >> 1 & 1) * 8 + (octant & 1) * 2;
      int64_t row = fine.first[b];
      for (uint64_t left = fine.occupied[b]; left != 0; left &= left - 1, ++row) {
        const int bit = __builtin_ctzll(left), x = bit >> 4, y = bit >> 2 & 3, z = bit & 3;
        const int64_t to = coarse_rows + rank(occupied, base + (x >> 1) * 16 + (y >> 1) * 4 + (z >> 1));
        parent[row] = to;
        child[row] = (x & 1) * 4 + (y & 1) * 2 + (z & 1);
        const int32_t* from = coords + 4 * row;
        int32_t* coarse = parent_coords + 4 * to;
        coarse[0] = from[0];
        for (int axis = 1; axis < 4; ++axis) coarse[axis] = from[axis] >> 1;  // floor division
      }
    }
    coarse_rows += __builtin_popcountll(occupied);
  }
  return coarse_rows;
}

// First half of a submanifold rule (27 offsets): cuts rows into blocks and counts pairs.  `first_row` [blocks + 1] and
// `first_pair` [blocks·27 + 1] have room for `capacity` blocks.  Returns the number of blocks; −1 where the rows are not unique
// and in brick order, −2 where the room does not suffice.
SW_EXPORT int64_t sw_submanifold_count(
    int64_t v, const int32_t* coords, int64_t block_rows, int64_t capacity, int64_t* first_row, int64_t* first_pair) {
  Bricks bricks;
  if (!find_bricks(v, coords, bricks)) return -1;
  const Superbricks supers(bricks);
  const std::vector<int64_t> starts = cut_blocks(bricks, block_rows);
  const int64_t blocks = static_cast<int64_t>(starts.size()) - 1;
  if (blocks > capacity) return -2;
  for (int64_t b = 0; b <= blocks; ++b) first_row[b] = bricks.first[starts[b]];
  first_pair[0] = 0;
  parallel_ranges(blocks, 8, [&](int64_t begin, int64_t end) {
    Neighbourhood neighbourhood(bricks, supers);
    Around around;
    for (int64_t block = begin; block < end; ++block) {
      int64_t* count = first_pair + 1 + block * 27;
      for (int k = 0; k < 27; ++k) count[k] = 0;
      for (int64_t b = starts[block]; b < starts[block + 1]; ++b) {
        neighbourhood.look(b, around);
        for (int k = 0; k < 27; ++k) count[k] += __builtin_popcountll(around.reached[k]);
      }
    }
  });
  for (int64_t i = 0; i < blocks * 27; ++i) first_pair[i + 1] += first_pair[i];
  return blocks;
}

// Second half: the pairs themselves.
SW_EXPORT void sw_submanifold_fill(
    int64_t v, const int32_t* coords, int64_t block_rows, const int64_t* first_pair, int32_t* inputs, int32_t* outputs) {
  Bricks bricks;
  if (!find_bricks(v, coords, bricks)) return;
  const Superbricks supers(bricks);
  const std::vector<int64_t> starts = cut_blocks(bricks, block_rows);
  parallel_ranges(static_cast<int64_t>(starts.size()) - 1, 8, [&](int64_t begin, int64_t end) {
    Neighbourhood neighbourhood(bricks, supers);
    Around around;
    for (int64_t block = begin; block < end; ++block) {
      int64_t next[27];
      for (int k = 0; k < 27; ++k) next[k] = first_pair[block * 27 + k];
      for (int64_t b = starts[block]; b < starts[block + 1]; ++b) {
        neighbourhood.look(b, around);
        const uint64_t own = bricks.occupied[b];
        const int32_t row = bricks.first[b];
        for (int k = 0; k < 27; ++k) {
          int64_t at = next[k];
          for (uint64_t left = around.reached[k]; left != 0; left &= left - 1, ++at) {
            const int bit = __builtin_ctzll(left);
            const Steps::Target to = kSteps.in_brick[k][bit];
            inputs[at] = around.first[to.cube] + rank(around.occupied[to.cube], to.cell);
            outputs[at] = row + rank(own, bit);
          }
          next[k] = at;
        }
      }
    }
  });
}

// Rule with one pair for every fine row: its coarse row, offset `child`.  Output rows are the coarse ones, or the fine ones where
// `fine_out`.  Blocks have `block_rows` output rows; `first_pair` has room for ceil(outputs / block_rows)·8 + 1.
SW_EXPORT void sw_stride_rule(
    int64_t fine, const int64_t* parent, const int64_t* child, int fine_out, int64_t blocks, int64_t block_rows, int64_t* first_pair,
    int32_t* inputs, int32_t* outputs) {
  const auto list = [&](int64_t i) { return (fine_out ? i : parent[i]) / block_rows * 8 + child[i]; };
  std::fill(first_pair, first_pair + blocks * 8 + 1, 0);
  for (int64_t i = 0; i < fine; ++i) ++first_pair[list(i) + 1];
  for (int64_t l = 0; l < blocks * 8; ++l) first_pair[l + 1] += first_pair[l];
  std::vector<int64_t> next(first_pair, first_pair + blocks * 8);
  for (int64_t i = 0; i < fine; ++i) {
    const int64_t at = next[list(i)]++;
    inputs[at] = static_cast<int32_t>(fine_out ? parent[i] : i);
    outputs[at] = static_cast<int32_t>(fine_out ? i : parent[i]);
  }
}
