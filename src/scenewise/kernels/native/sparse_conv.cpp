// Sparse convolution by a rule (see sparse_maps.cpp): out[o] += in[i]·W[k] over the pairs (i, o) of every kernel offset k, and the
// gradient of the weights, W[k] += in[i]ᵀ·grad[o].
//
// How it is organised, and why it is fast:
//   * Nothing is gathered or scattered: the innermost loop multiplies a few input rows, wherever they lie, with a panel of the
//     weight matrix and adds to output rows held in registers.  A panel is as wide as the registers allow and packed so that its
//     rows follow each other.
//   * A block of output rows belongs to one thread, which goes through all offsets: its rows stay in the second-level cache, no
//     atomics are needed, and the order of every sum is fixed.
//   * The gradient of the weights keeps a tile of W[k] in registers and runs over a block's pairs.  The partial sums it is cut into
//     depend on the rule only, and are added in order, so no result depends on the number of threads.
//   * Operands may be bfloat16 (sums stay float32) where the processor multiplies pairs of them; the "avx512bf16" variant.
#include <algorithm>
#include <vector>

#include "common.h"

namespace sw {
namespace {

constexpr int kLanes = kNativeLanes;
typedef Native Lanes;

// Makes the compiler forget how a pointer was computed.  Else it splits `p[0], p[1], …` into one sum of indices each, and spends
// more instructions on addresses than on arithmetic.
template <class T>
SW_INLINE T* opaque(T* pointer) {
  asm("" : "+r"(pointer));
  return pointer;
}

// A register tile is a few vectors wide.  Where its rows are rows of a matrix anywhere in memory, they are as many as there are
// registers for their addresses too; where they follow each other, registers for vectors are the only limit.
#if defined(__AVX512F__)
constexpr int kWidest = 4;
constexpr int scattered_rows(int width) { return width <= 2 ? 12 : width == 3 ? 8 : 6; }
constexpr int adjacent_rows(int width) { return width == 1 ? 16 : width == 2 ? 12 : width == 3 ? 8 : 6; }
#else
constexpr int kWidest = 2;
constexpr int scattered_rows(int width) { return width == 1 ? 10 : 6; }
constexpr int adjacent_rows(int width) { return width == 1 ? 10 : 6; }
#endif
constexpr int64_t kPanelBytes = 32768;  // of a panel that is used at once: stays in the first-level cache
constexpr int64_t kManyBlocks = 32;     // below this many blocks their columns are shared out as well
constexpr int64_t kMostPartials = 16;   // partial sums of a weight gradient
constexpr int64_t kPairsOfPartial = 1024;  // pairs an offset must have for one more partial sum: fewer, and adding them up shows
constexpr int64_t kLine = 16;           // values of a cache line, or pairs of bfloat16 values
// Whether the weight gradient reads rows where they lie.  Narrow tiles visit them so often that gathering them first pays: rows a
// power of two apart also share few places of the first-level cache.
constexpr bool kRowsAsTheyLie = kLanes == kLine;

int64_t padded(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// Columns of a matrix cut into panels, each a few vectors wide.
struct Panels {
  std::vector<int> widths;    // vectors
  std::vector<int64_t> first;  // column
  int64_t columns;            // with padding
  explicit Panels(int64_t wanted) : columns(padded(wanted, kLanes)) {
    int64_t column = 0;
    for (int64_t left = columns / kLanes; left > 0;) {
      // Two panels of three beat one of four and one of two.
      const int width = static_cast<int>(left == 6 || left == 5 ? std::min(3, kWidest) : std::min<int64_t>(left, kWidest));
      widths.push_back(width), first.push_back(column);
      column += static_cast<int64_t>(width) * kLanes, left -= width;
    }
  }
  int size() const { return static_cast<int>(widths.size()); }
};

// Memory kept between calls: asking the system for it anew costs more than filling it.
template <class T>
T* aligned(std::vector<T>& storage, size_t count) {
  if (storage.size() < count + 64) storage.resize(count + 64);
  return reinterpret_cast<T*>((reinterpret_cast<uintptr_t>(storage.data()) + 63) & ~uintptr_t(63));
}

struct Pairs {
  const int32_t *inputs, *outputs;
  int64_t count;
  int64_t readable;  // with those of the block's next offsets, which follow
};

}  // namespace

// Mirrors kernels/sparse_conv/native.py.
struct SparseRule {
  int64_t blocks, kernel_volume;
  const int64_t *first_row, *first_pair;  // [blocks + 1], [blocks·kernel_volume + 1]
  const int32_t *inputs, *outputs;
};

namespace {

Pairs pairs_of(const SparseRule& rule, int64_t block, int64_t k) {
  const int64_t* first = rule.first_pair + block * rule.kernel_volume + k;
  const int64_t end = rule.first_pair[(block + 1) * rule.kernel_volume];
  return {rule.inputs + first[0], rule.outputs + first[0], first[1] - first[0], end - first[0]};
}

template <class Element>
struct Matrix {
  Element* rows;
  int64_t stride;  // elements
};

// Calls fn with the number of rows as a constant.
template <int Most, class Fn>
SW_INLINE void with_rows(int rows, const Fn& fn) {
  if constexpr (Most > 0) {
    if (rows == Most)
      fn(std::integral_constant<int, Most>());
    else
      with_rows<Most - 1>(rows, fn);
  }
}
template <class Fn>
SW_INLINE void with_width(int width, const Fn& fn) {
  switch (width) {
    case 1: return fn(std::integral_constant<int, 1>());
    case 2: return fn(std::integral_constant<int, 2>());
#if defined(__AVX512F__)
    case 3: return fn(std::integral_constant<int, 3>());
    case 4: return fn(std::integral_constant<int, 4>());
#endif
  }
}

// Asks for rows that lie one behind the other, all at once instead of one miss after another.
template <class Element>
void prefetch_rows(Matrix<const Element> matrix, int64_t begin, int64_t end) {
  const char* last = reinterpret_cast<const char*>(matrix.rows + end * matrix.stride);
  for (const char* byte = reinterpret_cast<const char*>(matrix.rows + begin * matrix.stride); byte < last; byte += 64)
    __builtin_prefetch(byte, 0, 2);
}

// -------------------------------------------------------------------------------------------------------------------- operands

// What the register tiles multiply.  `kDepth` input channels are consumed by one step.
struct Float32 {
  using Element = float;
  static constexpr int kDepth = 1;
  static SW_INLINE Lanes panel(const float* p) { return load_native(p); }
  static SW_INLINE void add_product(Lanes& sum, const float* scalar, Lanes b) { sum += *scalar * b; }
  using Panel = Lanes;
};

#if defined(__AVX512BF16__)
SW_INLINE uint16_t bfloat16_from_float(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  if (x != x) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);  // nearest, ties to even
}

struct Bfloat16 {
  using Element = uint16_t;
  static constexpr int kDepth = 2;
  using Panel = __m512i;
  static SW_INLINE __m512i panel(const uint16_t* p) { return _mm512_loadu_si512(p); }
  static SW_INLINE void add_product(Lanes& sum, const uint16_t* two, __m512i b) {
    int32_t both;
    std::memcpy(&both, two, 4);
    sum = reinterpret_cast<Lanes>(_mm512_dpbf16_ps(
        reinterpret_cast<__m512>(sum), reinterpret_cast<__m512bh>(_mm512_set1_epi32(both)), reinterpret_cast<__m512bh>(b)));
  }
};
#endif

// ------------------------------------------------------------------------------------------------------------- out += in·weight

template <class Operand, int Rows, int Width>
SW_INLINE void multiply_tile(
    const typename Operand::Element* const* in, float* const* out, const typename Operand::Element* panel, int64_t channels) {
  Lanes sum[Rows][Width];
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
    for (int j = 0; j < Width; ++j) sum[r][j] = load_native(out[r] + j * kLanes);
  for (int64_t c = 0; c < channels; c += Operand::kDepth) {
    typename Operand::Panel b[Width];
#pragma GCC unroll 4
    for (int j = 0; j < Width; ++j) b[j] = Operand::panel(panel + j * kLanes * Operand::kDepth);
    panel += Width * kLanes * Operand::kDepth;
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
      for (int j = 0; j < Width; ++j) Operand::add_product(sum[r][j], in[r] + c, b[j]);
  }
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
    for (int j = 0; j < Width; ++j) store(out[r] + j * kLanes, sum[r][j]);
}

// The last rows, fewer than a tile has.
template <class Operand, int Rows, int Width>
SW_INLINE void multiply_rest(
    int64_t rows, const typename Operand::Element* const* in, float* const* out, const typename Operand::Element* panel, int64_t channels) {
  if constexpr (Rows > 0) {
    if (rows == Rows)
      multiply_tile<Operand, Rows, Width>(in, out, panel, channels);
    else
      multiply_rest<Operand, Rows - 1, Width>(rows, in, out, panel, channels);
  }
}

template <class Operand, int Width>
__attribute__((noinline)) void multiply_panel(
    Pairs pairs, Matrix<const typename Operand::Element> in, Matrix<float> out, const typename Operand::Element* panel, int64_t channels) {
  constexpr int kRows = scattered_rows(Width);
  const typename Operand::Element* from[kRows];
  float* to[kRows];
  int64_t p = 0;
  for (; p + kRows <= pairs.count; p += kRows) {
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      from[r] = in.rows + pairs.inputs[p + r] * in.stride;
      to[r] = out.rows + pairs.outputs[p + r] * out.stride;
    }
    // Which rows come next only the rule knows, so the processor cannot fetch them ahead by itself.
    for (int64_t next = p + kRows, end = std::min(p + 2 * kRows, pairs.readable); next < end; ++next) {
      const char* row = reinterpret_cast<const char*>(in.rows + pairs.inputs[next] * in.stride);
      for (int64_t byte = 0; byte < channels * static_cast<int64_t>(sizeof *in.rows); byte += 64) __builtin_prefetch(row + byte);
    }
    multiply_tile<Operand, kRows, Width>(from, to, panel, channels);
  }
  const int64_t rest = pairs.count - p;
  for (int64_t r = 0; r < rest; ++r) {
    from[r] = in.rows + pairs.inputs[p + r] * in.stride;
    to[r] = out.rows + pairs.outputs[p + r] * out.stride;
  }
  multiply_rest<Operand, kRows - 1, Width>(rest, from, to, panel, channels);
}

// A panel of few channels is small enough to stay in registers itself; then every row is read and written once.
template <class Operand, int Steps, int Width>
__attribute__((noinline)) void multiply_narrow(
    Pairs pairs, Matrix<const typename Operand::Element> in, Matrix<float> out, const typename Operand::Element* panel) {
  typename Operand::Panel b[Steps][Width];
#pragma GCC unroll 16
  for (int c = 0; c < Steps; ++c)
#pragma GCC unroll 4
    for (int j = 0; j < Width; ++j) b[c][j] = Operand::panel(panel + (c * Width + j) * kLanes * Operand::kDepth);
  for (int64_t p = 0; p < pairs.count; ++p) {
    const typename Operand::Element* from = opaque(in.rows + pairs.inputs[p] * in.stride);
    float* to = opaque(out.rows + pairs.outputs[p] * out.stride);
    Lanes sum[Width];
#pragma GCC unroll 4
    for (int j = 0; j < Width; ++j) sum[j] = load_native(to + j * kLanes);
#pragma GCC unroll 16
    for (int c = 0; c < Steps; ++c)
#pragma GCC unroll 4
      for (int j = 0; j < Width; ++j) Operand::add_product(sum[j], from + c * Operand::kDepth, b[c][j]);
#pragma GCC unroll 4
    for (int j = 0; j < Width; ++j) store(to + j * kLanes, sum[j]);
  }
}

template <class Operand>
void multiply(
    int width, Pairs pairs, Matrix<const typename Operand::Element> in, Matrix<float> out, const typename Operand::Element* panel,
    int64_t channels) {
  with_width(width, [&](auto constant_width) {
    constexpr int kWidth = decltype(constant_width)::value;
    const int64_t steps = (channels + Operand::kDepth - 1) / Operand::kDepth;
    if (steps <= adjacent_rows(kWidth))
      return with_rows<adjacent_rows(kWidth)>(static_cast<int>(steps), [&](auto constant_steps) {
        multiply_narrow<Operand, decltype(constant_steps)::value, kWidth>(pairs, in, out, panel);
      });
    const int64_t most = kPanelBytes / (kWidth * kLanes * static_cast<int64_t>(sizeof(typename Operand::Element)));
    const int64_t parts = (channels + most - 1) / most, part = padded((channels + parts - 1) / parts, kLine);
    for (int64_t begin = 0; begin < channels; begin += part)
      multiply_panel<Operand, kWidth>(
          pairs, {in.rows + begin, in.stride}, out, panel + begin * kWidth * kLanes, std::min(part, channels - begin));
  });
}

// One offset's matrix as panels, rows padded with zeros to whole vectors (and to pairs of channels for bfloat16).
// `element(i, j)` is the weight from input channel i to output channel j.
template <class Operand, class Get>
void pack_panels(const Panels& panels, int64_t in_channels, int64_t out_channels, typename Operand::Element* packed, const Get& element) {
  constexpr int kDepth = Operand::kDepth;
  for (int q = 0; q < panels.size(); ++q) {
    const int64_t width = static_cast<int64_t>(panels.widths[q]) * kLanes, first = panels.first[q];
    const int64_t real = std::min(width, out_channels - first);
    // Channels in small batches, so that a transposed matrix is read and the panel written cache line by cache line.
    for (int64_t begin = 0; begin < in_channels; begin += 16) {
      const int64_t end = std::min(in_channels, begin + 16);
      for (int64_t j = 0; j < real; ++j)
        for (int64_t i = begin; i < end; ++i) packed[(i / kDepth * width + j) * kDepth + i % kDepth] = element(i, first + j);
      for (int64_t j = real; j < width; ++j)
        for (int64_t i = begin; i < end; ++i) packed[(i / kDepth * width + j) * kDepth + i % kDepth] = 0;
    }
    if (in_channels % kDepth != 0)
      for (int64_t j = 0; j < width; ++j) packed[(in_channels / kDepth * width + j) * kDepth + 1] = 0;
    packed += width * padded(in_channels, kDepth);
  }
}

template <class Operand>
void convolve(
    const SparseRule& rule, Matrix<const typename Operand::Element> in, int64_t in_channels, const typename Operand::Element* packed,
    const Panels& panels, bool mirrored, const float* bias, float* out, int64_t out_channels) {
  const int64_t volume = rule.kernel_volume, size_of_offset = padded(in_channels, Operand::kDepth) * panels.columns;
  const bool rule_is_square = volume == 27;  // then a block's inputs are mostly the rows of its outputs
  const int shares = rule.blocks < kManyBlocks ? panels.size() : 1;
  parallel_for(rule.blocks * shares, [&](int64_t chunk) {
    const int64_t block = chunk / shares, row = rule.first_row[block], rows = rule.first_row[block + 1] - row;
    const int first_panel = shares == 1 ? 0 : static_cast<int>(chunk % shares);
    const int end_panel = shares == 1 ? panels.size() : first_panel + 1;
    const int64_t column = panels.first[first_panel];
    const int64_t columns = (end_panel == panels.size() ? panels.columns : panels.first[end_panel]) - column;
    const int64_t real = std::min(columns, out_channels - column);
    Matrix<float> to{out, out_channels};
    if (columns != real) {  // whole vectors would write beyond the row
      static thread_local std::vector<float> storage;
      to = {aligned(storage, rows * panels.columns) - row * panels.columns, panels.columns};
    }
    if (rule_is_square) prefetch_rows(in, row, row + rows);
    for (int64_t r = row; r < row + rows; ++r) {
      float* first = to.rows + r * to.stride + column;
      if (bias == nullptr) {
        std::memset(first, 0, columns * sizeof(float));
      } else {
        std::memcpy(first, bias + column, real * sizeof(float));
        std::memset(first + real, 0, (columns - real) * sizeof(float));
      }
    }
    for (int64_t k = 0; k < volume; ++k) {
      const Pairs pairs = pairs_of(rule, block, k);
      if (pairs.count == 0) continue;
      const typename Operand::Element* weight = packed + (mirrored ? volume - 1 - k : k) * size_of_offset;
      for (int q = first_panel; q < end_panel; ++q)
        multiply<Operand>(
            panels.widths[q], pairs, in, {to.rows + panels.first[q], to.stride},
            weight + panels.first[q] * padded(in_channels, Operand::kDepth), in_channels);
    }
    if (columns != real)
      for (int64_t r = row; r < row + rows; ++r)
        std::memcpy(out + r * out_channels + column, to.rows + r * to.stride + column, real * sizeof(float));
  });
}

// ------------------------------------------------------------------------------------------------------- weight += inᵀ·gradient

// Adds the pairs' products to a tile of the weight: Rows input channels, Width vectors of output channels.
template <int Rows, int Width>
__attribute__((noinline)) void gradient_tile(Pairs pairs, Matrix<const float> in, Matrix<const float> grad, Matrix<float> weight) {
  Lanes sum[Rows][Width];
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
    for (int j = 0; j < Width; ++j) sum[r][j] = load_native(weight.rows + r * weight.stride + j * kLanes);
  for (int64_t p = 0; p < pairs.count; ++p) {
    const float* from = opaque(in.rows + pairs.inputs[p] * in.stride);
    const float* upstream = opaque(grad.rows + pairs.outputs[p] * grad.stride);
    Lanes b[Width];
#pragma GCC unroll 4
    for (int j = 0; j < Width; ++j) b[j] = load_native(upstream + j * kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
      for (int j = 0; j < Width; ++j) sum[r][j] += from[r] * b[j];
  }
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
    for (int j = 0; j < Width; ++j) store(weight.rows + r * weight.stride + j * kLanes, sum[r][j]);
}

// The rows of a list gathered by cache line: line l of its step t is at (l·steps + t)·kLine.  A step is one pair, or two pairs with
// their bfloat16 values beside each other.
template <class Operand>
struct Gathered {
  typename Operand::Element* lines;
  int64_t steps;
  typename Operand::Element* line(int64_t l) const { return lines + l * steps * kLine * Operand::kDepth; }
};

// As gradient_tile, from gathered lines: both arrays are read from begin to end.
template <class Operand, int Rows, int Width>
__attribute__((noinline)) void gradient_tile_gathered(
    const typename Operand::Element* in, const typename Operand::Element* grad, int64_t steps, Matrix<float> weight) {
  constexpr int64_t kStep = kLine * Operand::kDepth;
  const int64_t next_vector = kLanes == kLine ? steps * kStep : kLanes * Operand::kDepth;  // a vector is a line, or a part of one
  Lanes sum[Rows][Width];
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
    for (int j = 0; j < Width; ++j) sum[r][j] = load_native(weight.rows + r * weight.stride + j * kLanes);
  for (int64_t t = 0; t < steps; ++t, in += kStep, grad += kStep) {
    typename Operand::Panel b[Width];
#pragma GCC unroll 4
    for (int j = 0; j < Width; ++j) b[j] = Operand::panel(grad + j * next_vector);
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
      for (int j = 0; j < Width; ++j) Operand::add_product(sum[r][j], in + r * Operand::kDepth, b[j]);
  }
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
    for (int j = 0; j < Width; ++j) store(weight.rows + r * weight.stride + j * kLanes, sum[r][j]);
}

// Calls tile(rows, width, first row, panel) for every register tile of a matrix, at most `span` rows from a multiple of it.
template <class Fn>
SW_INLINE void for_tiles(const Panels& panels, int64_t rows, int64_t span, const Fn& tile) {
  for (int q = 0; q < panels.size(); ++q)
    with_width(panels.widths[q], [&](auto width) {
      constexpr int kRows = adjacent_rows(decltype(width)::value);
      for (int64_t from = 0; from < rows; from += span) {
        const int64_t here = std::min(span, rows - from), tiles = (here + kRows - 1) / kRows;
        for (int64_t t = 0; t < tiles; ++t) {  // of nearly equal numbers of rows
          const int64_t begin = here * t / tiles, end = here * (t + 1) / tiles;
          with_rows<kRows>(static_cast<int>(end - begin), [&](auto count) { tile(count, width, from + begin, q); });
        }
      }
    });
}

template <class Operand>
void add_gathered(
    const Panels& panels, int64_t in_channels, Gathered<Operand> in, Gathered<Operand> grad, Matrix<float> weight) {
  constexpr int kDepth = Operand::kDepth;
  for_tiles(panels, in_channels, kLine, [&](auto rows, auto width, int64_t row, int q) {
    const int64_t column = panels.first[q];
    gradient_tile_gathered<Operand, decltype(rows)::value, decltype(width)::value>(
        in.line(row / kLine) + row % kLine * kDepth, grad.line(column / kLine) + column % kLine * kDepth, in.steps,
        {weight.rows + row * weight.stride + column, weight.stride});
  });
}

Gathered<Float32> gather(const int32_t* rows, int64_t count, Matrix<const float> from, std::vector<float>& storage) {
  const int64_t channels = from.stride, whole = channels / kLine, lines = (channels + kLine - 1) / kLine;
  Gathered<Float32> to{aligned(storage, lines * count * kLine), count};
  for (int64_t t = 0; t < count; ++t) {
    const float* row = from.rows + rows[t] * from.stride;
    for (int64_t l = 0; l < whole; ++l) store(to.line(l) + t * kLine, load(row + l * kLine));
    if (whole != lines) {
      float* last = to.line(whole) + t * kLine;
      for (int64_t c = 0; c < kLine; ++c) last[c] = whole * kLine + c < channels ? row[whole * kLine + c] : 0.0f;
    }
  }
  return to;
}

// How the work of a weight gradient is cut: `partials` sums over runs of blocks, each in `groups` of neighbouring offsets.
struct Cut {
  int64_t partials, groups;
  explicit Cut(const SparseRule& rule) {
    const int64_t volume = rule.kernel_volume, pairs = rule.first_pair[rule.blocks * volume];
    partials = std::min<int64_t>(kMostPartials, std::max<int64_t>(1, pairs / (kPairsOfPartial * volume)));
    // Every group reads all rows again, so there are no more than keep many processors busy.
    groups = partials == 1 ? volume : partials < kMostPartials ? std::min<int64_t>(volume, 9) : 1;
  }
};

// `add(pairs, weight)` adds the products of one list to one offset's matrix of padded rows; `begin_block(first, end)` hears which
// output rows come next.
template <class Begin, class Add>
void weight_gradient(
    const SparseRule& rule, int64_t in_channels, int64_t out_channels, float* result, const Begin& begin_block, const Add& add) {
  const int64_t volume = rule.kernel_volume, columns = padded(out_channels, kLanes), size = in_channels * columns;
  const Cut cut(rule);
  static thread_local std::vector<float> storage;
  const bool direct = cut.partials == 1 && columns == out_channels;
  float* sums = direct ? result : aligned(storage, cut.partials * volume * size);
  // Partial sums of all blocks' pairs, cut where the pairs are shared out evenly.
  std::vector<int64_t> cuts(cut.partials + 1, rule.blocks);
  const int64_t pairs = rule.first_pair[rule.blocks * volume];
  for (int64_t s = 0, block = 0; s < cut.partials; ++s) {
    while (block < rule.blocks && rule.first_pair[block * volume] < pairs * s / cut.partials) ++block;
    cuts[s] = block;
  }
  parallel_for(cut.partials * cut.groups, [&](int64_t chunk) {
    const int64_t s = chunk / cut.groups, group = chunk % cut.groups;
    const int64_t begin = volume * group / cut.groups, end = volume * (group + 1) / cut.groups;
    std::memset(sums + (s * volume + begin) * size, 0, (end - begin) * size * sizeof(float));
    for (int64_t block = cuts[s]; block < cuts[s + 1]; ++block) {
      begin_block(rule.first_row[block], rule.first_row[block + 1]);
      for (int64_t k = begin; k < end; ++k) {
        const Pairs list = pairs_of(rule, block, k);
        if (list.count > 0) add(list, Matrix<float>{sums + (s * volume + k) * size, columns});
      }
    }
  });
  if (direct) return;
  parallel_ranges(volume * in_channels, 256, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      float* to = result + row * out_channels;
      const float* from = sums + row * columns;
      for (int64_t j = 0; j < out_channels; ++j) to[j] = from[j];
      for (int64_t s = 1; s < cut.partials; ++s) {
        from += volume * size;
        for (int64_t j = 0; j < out_channels; ++j) to[j] += from[j];
      }
    }
  });
}

#if defined(__AVX512BF16__)
// Rows as bfloat16, padded with zeros to `stride`.
void to_bfloat16(const float* rows, int64_t n, int64_t channels, int64_t stride, uint16_t* out) {
  parallel_ranges(n, 1024, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float* from = rows + r * channels;
      uint16_t* to = out + r * stride;
      for (int64_t c = 0; c < channels; c += 16) {
        const __mmask16 mask = channels - c >= 16 ? 0xffff : static_cast<__mmask16>((1u << (channels - c)) - 1);
        const __m256bh both = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, from + c));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + c), reinterpret_cast<__m256i>(both));
      }
    }
  });
}

// Pair 2t in the low halves and pair 2t + 1 (zeros after the last) in the high halves of 32-bit words.
Gathered<Bfloat16> interleave(const int32_t* rows, int64_t count, Matrix<const uint16_t> from, std::vector<uint16_t>& storage) {
  const int64_t steps = (count + 1) / 2, lines = from.stride / kLine;
  Gathered<Bfloat16> to{aligned(storage, lines * steps * kLine * 2), steps};
  const __m512i low = _mm512_set_epi16(
      47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6, 37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
  const __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(kLine));
  for (int64_t t = 0; t < steps; ++t) {
    const uint16_t* a = from.rows + rows[2 * t] * from.stride;
    const uint16_t* b = 2 * t + 1 < count ? from.rows + rows[2 * t + 1] * from.stride : nullptr;
    int64_t l = 0;
    for (; l + 2 <= lines; l += 2) {
      const __m512i x = _mm512_loadu_si512(a + l * kLine), y = b == nullptr ? _mm512_setzero_si512() : _mm512_loadu_si512(b + l * kLine);
      _mm512_storeu_si512(to.line(l) + t * kLine * 2, _mm512_permutex2var_epi16(x, low, y));
      _mm512_storeu_si512(to.line(l + 1) + t * kLine * 2, _mm512_permutex2var_epi16(x, high, y));
    }
    if (l < lines) {
      const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(a + l * kLine));
      const __m256i y = b == nullptr ? _mm256_setzero_si256() : _mm256_loadu_si256(reinterpret_cast<const __m256i*>(b + l * kLine));
      _mm512_storeu_si512(
          to.line(l) + t * kLine * 2, _mm512_permutex2var_epi16(_mm512_castsi256_si512(x), low, _mm512_castsi256_si512(y)));
    }
  }
  return to;
}
#endif

}  // namespace
}  // namespace sw

using namespace sw;

// 1 where operands may be bfloat16.
SW_EXPORT int sw_supports_bfloat16() {
#if defined(__AVX512BF16__)
  return 1;
#else
  return 0;
#endif
}

// `weight` is [kernel_volume, in_channels, out_channels], or [kernel_volume, out_channels, in_channels] where `transposed`;
// `mirrored` takes offset kernel_volume − 1 − k for k.  `scratch` has room for in_rows · (in_channels padded to 16) bfloat16
// values and is null for float32 operands.  `bias` [out_channels] begins every output row, or is null.
SW_EXPORT void sw_sparse_convolve(
    const SparseRule* rule, const float* in, [[maybe_unused]] int64_t in_rows, int64_t in_channels, const float* weight,
    int64_t out_channels, int transposed, int mirrored, const float* bias, [[maybe_unused]] uint16_t* scratch, float* out) {
  const Panels panels(out_channels);
  const int64_t volume = rule->kernel_volume, size = in_channels * out_channels;
  const int64_t row_step = transposed ? 1 : out_channels, column_step = transposed ? in_channels : 1;
#if defined(__AVX512BF16__)
  if (scratch != nullptr) {
    static thread_local std::vector<uint16_t> storage;
    const int64_t packed_size = padded(in_channels, 2) * panels.columns, stride = padded(in_channels, kLine);
    uint16_t* packed = aligned(storage, volume * packed_size);
    parallel_for(volume, [&](int64_t k) {
      const float* from = weight + k * size;
      pack_panels<Bfloat16>(panels, in_channels, out_channels, packed + k * packed_size, [&](int64_t i, int64_t j) {
        return bfloat16_from_float(from[i * row_step + j * column_step]);
      });
    });
    to_bfloat16(in, in_rows, in_channels, stride, scratch);
    return convolve<Bfloat16>(*rule, {scratch, stride}, in_channels, packed, panels, mirrored != 0, bias, out, out_channels);
  }
#endif
  static thread_local std::vector<float> storage;
  const int64_t packed_size = in_channels * panels.columns;
  float* packed = aligned(storage, volume * packed_size);
  parallel_for(volume, [&](int64_t k) {
    const float* from = weight + k * size;
    pack_panels<Float32>(panels, in_channels, out_channels, packed + k * packed_size, [&](int64_t i, int64_t j) {
      return from[i * row_step + j * column_step];
    });
  });
  convolve<Float32>(*rule, {in, in_channels}, in_channels, packed, panels, mirrored != 0, bias, out, out_channels);
}

// `result` is [kernel_volume, in_channels, out_channels].  The scratch arrays hold features and gradient as bfloat16 (rows padded to
// 16) and are null for float32 operands.
SW_EXPORT void sw_sparse_weight_gradient(
    const SparseRule* rule, const float* in, [[maybe_unused]] int64_t in_rows, int64_t in_channels, const float* grad,
    [[maybe_unused]] int64_t out_rows, int64_t out_channels, [[maybe_unused]] uint16_t* in_scratch,
    [[maybe_unused]] uint16_t* grad_scratch, float* result) {
  const Panels panels(out_channels);
  const bool square = rule->kernel_volume == 27;
#if defined(__AVX512BF16__)
  if (in_scratch != nullptr) {
    const int64_t in_stride = padded(in_channels, kLine), grad_stride = padded(out_channels, kLine);
    to_bfloat16(in, in_rows, in_channels, in_stride, in_scratch);
    to_bfloat16(grad, out_rows, out_channels, grad_stride, grad_scratch);
    const Matrix<const uint16_t> from{in_scratch, in_stride}, upstream{grad_scratch, grad_stride};
    return weight_gradient(
        *rule, in_channels, out_channels, result,
        [&](int64_t first, int64_t end) {
          if (square) prefetch_rows(from, first, end);
          prefetch_rows(upstream, first, end);
        },
        [&](Pairs pairs, Matrix<float> weight) {
          static thread_local std::vector<uint16_t> in_storage, grad_storage;
          const Gathered<Bfloat16> in_lines = interleave(pairs.inputs, pairs.count, from, in_storage);
          const Gathered<Bfloat16> grad_lines = interleave(pairs.outputs, pairs.count, upstream, grad_storage);
          add_gathered(panels, in_channels, in_lines, grad_lines, weight);
        });
  }
#endif
  const Matrix<const float> from{in, in_channels}, upstream{grad, out_channels};
  // Whole vectors would read beyond the end of rows that are no multiple of them.
  const bool as_they_lie = kRowsAsTheyLie && panels.columns == out_channels;
  weight_gradient(
      *rule, in_channels, out_channels, result,
      [&](int64_t first, int64_t end) {
        if (square) prefetch_rows(from, first, end);
        prefetch_rows(upstream, first, end);
      },
      [&](Pairs pairs, Matrix<float> weight) {
        if (as_they_lie) {
          // The input rows of the next list are asked for between this one's tiles, so that they come while others are computed.
          const int64_t next = std::min(pairs.readable, 2 * pairs.count);
          int64_t asked = pairs.count;
          const int64_t step = 1 + pairs.count * kLine / (in_channels * panels.size());
          return for_tiles(panels, in_channels, in_channels, [&](auto rows, auto width, int64_t row, int q) {
            for (const int64_t end = std::min(next, asked + step); asked < end; ++asked) {
              const int64_t wanted = pairs.inputs[asked];
              prefetch_rows(from, wanted, wanted + 1);
            }
            gradient_tile<decltype(rows)::value, decltype(width)::value>(
                pairs, {in + row, in_channels}, {grad + panels.first[q], out_channels},
                {weight.rows + row * weight.stride + panels.first[q], weight.stride});
          });
        }
        static thread_local std::vector<float> in_storage, grad_storage;
        const Gathered<Float32> in_lines = gather(pairs.inputs, pairs.count, from, in_storage);
        const Gathered<Float32> grad_lines = gather(pairs.outputs, pairs.count, upstream, grad_storage);
        add_gathered(panels, in_channels, in_lines, grad_lines, weight);
      });
}
