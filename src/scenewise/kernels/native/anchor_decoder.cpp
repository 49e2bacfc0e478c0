// The decoder of neural anchors: three small networks per anchor and the children they describe, forward and backward.
//
// How it is organised, and why it is fast:
//   * A block of a few dozen anchors goes from features to children, or from the children's gradients to the features', without
//     leaving the caches.  Everything is stored row by row, an anchor a row, and every layer, its gradient and that of its
//     weights is a product of such rows in register tiles: nothing is transposed, and the heads' first layers are one product.
//   * Opacities come first.  Anchors without a child to be seen go no further, and children that cannot be seen are dropped
//     before the exponentials and logarithms, which then run over dense arrays.
//   * The backward pass computes the hidden layers again, a seventh of its arithmetic, and reads four numbers per child that the
//     forward pass left.  Weights' gradients are summed per chunk, and the chunks added in order.
//   * Anchors lie anywhere in memory: those of the next block are asked for while this one's products are computed.
// Sources: Lu et al. 2024 (Scaffold-GS, arXiv 2312.00109), section 3.2; Fan et al. 2024 (Momentum-GS, arXiv 2412.04887) for the
// comparison with a teacher.
#include <algorithm>
#include <initializer_list>
#include <type_traits>
#include <vector>

#include "common.h"

namespace sw {
namespace {

constexpr int kHeads = 3;
enum Head { kOpacity, kColor, kCovariance };
constexpr int64_t kOutputsPerSlot[kHeads] = {1, 3, 7};
constexpr int64_t kBlock = 48;        // anchors that are worked on together: a multiple of every tile's rows
constexpr int64_t kChunk = 192;       // anchors of a thread's turn, at least: a few blocks
constexpr int64_t kMostChunks = 64;   // each has its own sums of the weights' gradients
constexpr int64_t kLongGap = 2048;    // anchors whose gradients one thread may set to zero in passing
constexpr int64_t kVisibleGrain = 8192;
constexpr float kY00 = 0.28209479177387814f;
constexpr float kLog2E = 1.4426950408889634f;
constexpr float kLn2 = 0.6931471805599453f;
constexpr float kSmallestOpacity = 1e-7f;  // SMALLEST_OPACITY of the reference
constexpr float kShortestQuat = 1e-12f;

}  // namespace

// Mirrors kernels/anchor_decoder/native.py.  Arrays are contiguous, float32 where nothing else is said; nullable ones say so.
struct AnchorScene {
  int64_t n, visible;
  int32_t slots, channels, hidden, teacher_passes_gradients;
  const float *positions, *offsets, *features, *log_scales;
  const int64_t* rows;
  const float *heads[3], *teacher[3];  // the latter null without a teacher
  float center[3];
};
// What the forward pass leaves: outputs, and what the backward pass reads.
struct AnchorChildren {
  int64_t count;
  float *means, *log_scales, *quats, *logits, *sh0;
  int64_t *row_of, *slot_of;
  float *opacities, *raw_opacities, *teacher_opacities;  // [visible, slots]; the last null without a teacher
  int64_t* first_child;                                  // [chunks + 1]
  double* squares;                                       // [chunks, 4], sums of squared differences
  float* differences;                                    // [4]
  // Null unless there will be a backward pass.  One array after the other, child by child: 1 − sigmoid of the scales and
  // 1 / length of the quaternions; the teacher's colours as Answers has them, scales, 1 − sigmoid, quaternions and 1 / length.
  float *kept, *others;  // [4·count], [14·count]
};
struct AnchorGradients {
  const float *means, *log_scales, *quats, *logits, *sh0, *differences;  // upstream, nullable
  float *offsets, *features, *anchor_scales;
  float* heads[3];
};

namespace {

int64_t padded(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// ---------------------------------------------------------------------------------------------------------- products of few rows

// Makes the compiler forget how a pointer was computed, see sparse_conv.cpp.
template <class T>
SW_INLINE T* opaque(T* pointer) {
  asm("" : "+r"(pointer));
  return pointer;
}

// A tile is one or two vectors wide, and as high as there are registers.
#if defined(__AVX512F__)
constexpr int tile_rows(int) { return 12; }
#else
constexpr int tile_rows(int width) { return width == 2 ? 6 : 12; }
#endif

// Calls fn(width as a constant, first column) for every panel of columns, which are whole vectors.
template <class Fn>
SW_INLINE void for_panels(int64_t columns, const Fn& fn) {
  int64_t column = 0;
  for (; column + 2 * kNativeLanes <= columns; column += 2 * kNativeLanes) fn(std::integral_constant<int, 2>(), column);
  if (column < columns) fn(std::integral_constant<int, 1>(), column);
}

// Rows of a block: `stride` values from one to the next.
struct Rows {
  float* at;
  int64_t stride;
  float* row(int64_t r) const { return at + r * stride; }
};

// Memory that will be needed, asked for a few cache lines at a time while products are computed: what is asked for all at once is
// waited for.
class Ahead {
 public:
  // Rows of arrays that lie anywhere; the same rows of all arrays.
  void rows_of(const int64_t* rows, int64_t count) { next_row_ = rows, rows_left_ = count; }
  void add_array(const float* array, int64_t columns) {
    if (columns > 0) arrays_[array_count_++] = {array, columns};
  }
  // Values first … first + count − 1 of an array that may be null, `width` to each.
  void add_span(const float* array, int64_t width, int64_t first, int64_t count) {
    if (array != nullptr && count > 0) spans_[span_count_++] = {array + width * first, array + width * (first + count)};
  }
  SW_INLINE void some() {
    for (int i = 0; i < kRowsAtOnce && rows_left_ > 0; ++i, ++next_row_, --rows_left_)
      for (int a = 0; a < array_count_; ++a) {
        const float *value = arrays_[a].first + *next_row_ * arrays_[a].columns, *last = value + arrays_[a].columns - 1;
        for (; value < last; value += kLine) __builtin_prefetch(value);
        __builtin_prefetch(last);
      }
    for (int i = 0; i < kLinesAtOnce && span_count_ > 0; ++i) {
      Span& span = spans_[span_count_ - 1];
      __builtin_prefetch(span.next);
      span.next += kLine;
      if (span.next >= span.end) --span_count_;
    }
  }

 private:
  struct Array {
    const float* first;
    int64_t columns;
  };
  struct Span {
    const float *next, *end;
  };
  static constexpr int kRowsAtOnce = 6, kLinesAtOnce = 12, kLine = 16;
  Array arrays_[4];
  Span spans_[9];
  const int64_t* next_row_ = nullptr;
  int64_t rows_left_ = 0;
  int array_count_ = 0, span_count_ = 0;
};

template <int Height, int Width, class Finish>
SW_INLINE void multiply_tile(Rows a, int64_t depth, Rows b, const float* bias, const Finish& finish) {
  const float* from[Height];
  Native sum[Height][Width];
#pragma GCC unroll 16
  for (int r = 0; r < Height; ++r) {
    from[r] = opaque(a.row(r));
#pragma GCC unroll 2
    for (int j = 0; j < Width; ++j) sum[r][j] = bias == nullptr ? splat_native(0.0f) : load_native(bias + j * kNativeLanes);
  }
  const float* right = b.at;
  for (int64_t k = 0; k < depth; ++k, right += b.stride) {
    Native factor[Width];
#pragma GCC unroll 2
    for (int j = 0; j < Width; ++j) factor[j] = load_native(right + j * kNativeLanes);
#pragma GCC unroll 16
    for (int r = 0; r < Height; ++r)
#pragma GCC unroll 2
      for (int j = 0; j < Width; ++j) sum[r][j] += from[r][k] * factor[j];
  }
#pragma GCC unroll 16
  for (int r = 0; r < Height; ++r)
#pragma GCC unroll 2
    for (int j = 0; j < Width; ++j) finish(r, j * kNativeLanes, sum[r][j]);
}

// Calls finish(row, column, sums) with a·b + bias, bias null for none.  Whole tiles are computed: a block has room for the rows
// between `rows` and the next multiple, and what they hold is never used.
template <class Finish>
__attribute__((noinline)) void multiply(
    int64_t rows, Rows a, int64_t depth, Rows b, int64_t columns, const float* bias, Ahead& ahead, const Finish& finish) {
  for_panels(columns, [&](auto width, int64_t column) {
    constexpr int kWidth = decltype(width)::value, kHeight = tile_rows(kWidth);
    for (int64_t r = 0; r < rows; r += kHeight) {
      ahead.some();
      multiply_tile<kHeight, kWidth>(
          {a.row(r), a.stride}, depth, {b.at + column, b.stride}, bias == nullptr ? nullptr : bias + column,
          [&](int i, int j, Native sum) { finish(r + i, column + j, sum); });
    }
  });
}

// out += aᵀ·b of `depth` rows, a tile of it.
template <int Height, int Width>
SW_INLINE void add_transposed_tile(int64_t depth, Rows a, Rows b, Rows out) {
  Native sum[Height][Width];
#pragma GCC unroll 16
  for (int r = 0; r < Height; ++r)
#pragma GCC unroll 2
    for (int j = 0; j < Width; ++j) sum[r][j] = load_native(out.row(r) + j * kNativeLanes);
  const float *left = a.at, *right = b.at;
  for (int64_t k = 0; k < depth; ++k, left += a.stride, right += b.stride) {
    Native factor[Width];
#pragma GCC unroll 2
    for (int j = 0; j < Width; ++j) factor[j] = load_native(right + j * kNativeLanes);
#pragma GCC unroll 16
    for (int r = 0; r < Height; ++r)
#pragma GCC unroll 2
      for (int j = 0; j < Width; ++j) sum[r][j] += left[r] * factor[j];
  }
#pragma GCC unroll 16
  for (int r = 0; r < Height; ++r)
#pragma GCC unroll 2
    for (int j = 0; j < Width; ++j) store(out.row(r) + j * kNativeLanes, sum[r][j]);
}
template <int Height, int Width>
SW_INLINE void add_transposed_rest(int64_t height, int64_t depth, Rows a, Rows b, Rows out) {
  if constexpr (Height > 0) {
    if (height == Height)
      add_transposed_tile<Height, Width>(depth, a, b, out);
    else
      add_transposed_rest<Height - 1, Width>(height, depth, a, b, out);
  }
}
__attribute__((noinline)) void add_transposed(int64_t depth, Rows a, int64_t height, Rows b, int64_t columns, Rows out) {
  for_panels(columns, [&](auto width, int64_t column) {
    constexpr int kWidth = decltype(width)::value, kHeight = tile_rows(kWidth);
    const Rows right{b.at + column, b.stride};
    int64_t r = 0;
    for (; r + kHeight <= height; r += kHeight)
      add_transposed_tile<kHeight, kWidth>(depth, {a.at + r, a.stride}, right, {out.row(r) + column, out.stride});
    add_transposed_rest<kHeight - 1, kWidth>(height - r, depth, {a.at + r, a.stride}, right, {out.row(r) + column, out.stride});
  });
}

// ------------------------------------------------------------------------------------------------------------------- activations

// eˣ as power + power·rest, with rest = eʳ − 1 for x = n·log 2 + r; relative error of both below 2e-7.  Bounds are on the left:
// where the other is NaN, vmin and vmax pass it on.
struct Exponential {
  V16 power, rest;
  explicit SW_INLINE Exponential(V16 x) {
    x = vmin(splat(87.0f), vmax(splat(-87.0f), x));
    const V16 shifted = x * splat(kLog2E) + splat(12582912.0f), n = shifted - splat(12582912.0f);  // 1.5·2²³ rounds
    const V16 r = (x - n * splat(0.693145751953125f)) - n * splat(1.428606765330187e-6f);
    V16 p = splat(1.0f / 5040.0f);
    p = p * r + splat(1.0f / 720.0f);
    p = p * r + splat(1.0f / 120.0f);
    p = p * r + splat(1.0f / 24.0f);
    p = p * r + splat(1.0f / 6.0f);
    p = p * r + splat(0.5f);
    rest = p * (r * r) + r;
    power = as_float((as_int(shifted) << 23) + splat_int(0x3f800000));
  }
};
SW_INLINE V16 exp_of(V16 x) {
  const Exponential e(x);
  return e.power * e.rest + e.power;
}
// eˣ − 1, without loss near 0.
SW_INLINE V16 expm1_of(V16 x) {
  const Exponential e(x);
  return e.power * e.rest + (e.power - splat(1.0f));
}
SW_INLINE V16 tanh_of(V16 x) {
  const V16 e = expm1_of(splat(-2.0f) * vabs(x)), t = -e / (splat(2.0f) + e);
  return as_float(as_int(t) | (as_int(x) & splat_int(INT32_MIN)));
}
// log(tanh z / (1 − tanh z)), opacities not below the smallest.
SW_INLINE V16 logit_of_tanh(V16 z) {
  const V16 twice_z = splat(2.0f) * vmax(splat(kSmallestOpacity), z);
  return twice_z - splat(kLn2) + splat(kLn2) * log2_fast(-expm1_of(-twice_z));
}

// Three or four values of one child.  Arrays of a block have room behind their end, so that four may be read and written where
// three are meant, from the first child to the last.
typedef float Four __attribute__((vector_size(16)));
typedef float FourU __attribute__((vector_size(16), aligned(4)));
SW_INLINE Four load_four(const float* p) { return *reinterpret_cast<const FourU*>(p); }
SW_INLINE void store_four(float* p, Four v) { *reinterpret_cast<FourU*>(p) = v; }
SW_INLINE Four load_three(const float* p) { return Four{p[0], p[1], p[2], 0.0f}; }
SW_INLINE void store_three(float* p, Four v) { p[0] = v[0], p[1] = v[1], p[2] = v[2]; }
SW_INLINE Four splat_four(float x) { return Four{x, x, x, x}; }
SW_INLINE float dot(Four a, Four b) {
  const Four products = a * b;
  return (products[0] + products[1]) + (products[2] + products[3]);
}

// -------------------------------------------------------------------------------------------------------------------- networks

struct Sizes {
  int64_t slots, channels, inputs, hidden, wide_hidden, all_hidden, wide_channels;  // wide: padded to whole vectors
  int64_t outputs[kHeads], wide_outputs[kHeads], first_output[kHeads], all_outputs;
  explicit Sizes(const AnchorScene& s)
      : slots(s.slots), channels(s.channels), inputs(s.channels + 3), hidden(s.hidden),
        wide_hidden(padded(s.hidden, kNativeLanes)), all_hidden(kHeads * wide_hidden),
        wide_channels(padded(s.channels, kNativeLanes)), all_outputs(0) {
    for (int h = 0; h < kHeads; ++h) {
      outputs[h] = kOutputsPerSlot[h] * slots, wide_outputs[h] = padded(outputs[h], kNativeLanes);
      first_output[h] = all_outputs, all_outputs += wide_outputs[h];
    }
  }
};

// Memory of a thread, kept between calls: asking the system for it anew costs more than filling it.
struct Part {
  float** to;
  int64_t count;
};
void carve(std::vector<float>& storage, std::initializer_list<Part> parts) {
  int64_t total = 16;
  for (const Part& part : parts) total += padded(part.count, 16);
  if (static_cast<int64_t>(storage.size()) < total) storage.resize(total);
  float* next = reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(storage.data()) + 63) & ~uintptr_t(63));
  for (const Part& part : parts) *part.to = next, next += padded(part.count, 16);
}

// A decoder's matrices as the products want them: the heads' hidden units beside each other, padding zero.
class Network {
 public:
  Network(const Sizes& sizes, const float* const* heads, bool backward) : z(sizes) {
    const int64_t outputs = z.outputs[0] + z.outputs[1] + z.outputs[2];
    carve(storage_, {{&first_, (z.inputs + 1) * z.all_hidden},
                     {&first_rows_, backward ? z.all_hidden * z.wide_channels : 0},
                     {&second_[0], (z.hidden + 1) * z.wide_outputs[0]},
                     {&second_[1], (z.hidden + 1) * z.wide_outputs[1]},
                     {&second_[2], (z.hidden + 1) * z.wide_outputs[2]},
                     {&second_rows_, backward ? outputs * z.wide_hidden : 0}});
    for (int h = 0; h < kHeads; ++h)
      if (heads[h] != nullptr) pack(h, heads[h], backward);
  }

  // Hidden layers of heads first … end − 1 of a block; `x` ends every row with a one that is not read here.
  void hidden(int64_t rows, Rows x, int first, int end, Ahead& ahead, Rows out) const {
    const int64_t column = first * z.wide_hidden;
    const float* biases = first_ + z.inputs * z.all_hidden + column;
    const Native zero = splat_native(0.0f);
    multiply(
        rows, x, z.inputs, {first_ + column, z.all_hidden}, (end - first) * z.wide_hidden, biases, ahead,
        [&](int64_t r, int64_t c, Native sum) { store(out.row(r) + column + c, vmax(zero, sum)); });
  }
  // What a head says, before activations.
  void outputs(int64_t rows, Rows hidden, int h, Ahead& ahead, Rows out) const {
    const int64_t wide = z.wide_outputs[h];
    multiply(
        rows, {hidden.at + h * z.wide_hidden, hidden.stride}, z.hidden, {second_[h], wide}, wide, second_[h] + z.hidden * wide,
        ahead,
        [&](int64_t r, int64_t c, Native sum) { store(out.row(r) + z.first_output[h] + c, sum); });
  }
  // Gradients of all hidden units before the ReLU from those of the outputs.
  void hidden_gradient(int64_t rows, Rows d_outputs, Rows hidden, Ahead& ahead, Rows out) const {
    const Native zero = splat_native(0.0f);
    for (int h = 0; h < kHeads; ++h) {
      const int64_t column = h * z.wide_hidden;
      multiply(
          rows, {d_outputs.at + z.first_output[h], d_outputs.stride}, z.outputs[h], {rows_of(h), z.wide_hidden}, z.wide_hidden,
          nullptr, ahead,
          [&](int64_t r, int64_t c, Native sum) {
            const Native active = load_native(hidden.row(r) + column + c);
            store(out.row(r) + column + c, select(active > zero, sum, zero));
          });
    }
  }
  // Gradient of the features, added to `out` or written to it.
  void feature_gradient(int64_t rows, Rows d_hidden, bool add, Ahead& ahead, Rows out) const {
    multiply(
        rows, d_hidden, z.all_hidden, {first_rows_, z.wide_channels}, z.wide_channels, nullptr, ahead,
        [&](int64_t r, int64_t c, Native sum) {
          float* to = out.row(r) + c;
          store(to, add ? load_native(to) + sum : sum);
        });
  }

 private:
  float* rows_of(int h) const { return second_rows_ + kOutputsBefore[h] * z.slots * z.wide_hidden; }

  void pack(int h, const float* flat, bool backward) {
    const float *bias = flat + z.hidden * z.inputs, *second = bias + z.hidden, *last = second + z.outputs[h] * z.hidden;
    const int64_t column = h * z.wide_hidden, wide = z.wide_outputs[h];
    for (int64_t i = 0; i <= z.inputs; ++i) {
      float* to = first_ + i * z.all_hidden + column;
      for (int64_t u = 0; u < z.wide_hidden; ++u) to[u] = u >= z.hidden ? 0.0f : i < z.inputs ? flat[u * z.inputs + i] : bias[u];
    }
    for (int64_t u = 0; u <= z.hidden; ++u) {
      float* to = second_[h] + u * wide;
      for (int64_t o = 0; o < wide; ++o) to[o] = o >= z.outputs[h] ? 0.0f : u < z.hidden ? second[o * z.hidden + u] : last[o];
    }
    if (!backward) return;
    for (int64_t u = 0; u < z.wide_hidden; ++u) {
      float* to = first_rows_ + (column + u) * z.wide_channels;
      for (int64_t i = 0; i < z.wide_channels; ++i) to[i] = u < z.hidden && i < z.channels ? flat[u * z.inputs + i] : 0.0f;
    }
    for (int64_t o = 0; o < z.outputs[h]; ++o) {
      float* to = rows_of(h) + o * z.wide_hidden;
      for (int64_t u = 0; u < z.wide_hidden; ++u) to[u] = u < z.hidden ? second[o * z.hidden + u] : 0.0f;
    }
  }

  static constexpr int64_t kOutputsBefore[kHeads] = {0, 1, 4};  // per slot
  const Sizes& z;
  std::vector<float> storage_;
  float *first_, *first_rows_, *second_[kHeads], *second_rows_;
};

// ---------------------------------------------------------------------------------------------------------- anchors and children

// Visible anchors cut into pieces by their number alone: no sum depends on the number of threads.
struct Chunks {
  int64_t visible, size, count;
  explicit Chunks(int64_t visible_anchors)
      : visible(visible_anchors), size(std::max(kChunk, padded(visible, kChunk * kMostChunks) / kMostChunks)),
        count((visible + size - 1) / size) {}
  int64_t begin(int64_t c) const { return c * size; }
  int64_t end(int64_t c) const { return std::min(visible, (c + 1) * size); }
};

// Anchors of one chunk, all or those with a child that can be seen, and these children.
struct Shown {
  std::vector<int64_t> anchors, places;  // rows of the scene, and places among the visible ones
  std::vector<int32_t> first_child;      // of each of them, one more at the end; counted from the chunk's first
  std::vector<int32_t> slots;            // of each child

  void find(const AnchorScene& s, const float* opacities, int64_t begin, int64_t end, bool all_anchors) {
    const int64_t most = end - begin;
    if (static_cast<int64_t>(anchors.size()) < most) anchors.resize(most), places.resize(most), first_child.resize(most + 1);
    if (static_cast<int64_t>(slots.size()) < most * s.slots + 1) slots.resize(most * s.slots + 1);
    int32_t children = 0;
    rows_ = 0;
    for (int64_t v = begin; v < end; ++v) {
      const float* opacity = opacities + v * s.slots;
      anchors[rows_] = s.rows[v], places[rows_] = v, first_child[rows_] = children;
      for (int32_t slot = 0; slot < s.slots; ++slot)  // no branch to guess
        slots[children] = slot, children += opacity[slot] > 0.0f;
      rows_ += all_anchors || children > first_child[rows_];
    }
    first_child[rows_] = children;
  }
  int64_t size() const { return rows_; }

 private:
  int64_t rows_ = 0;
};

// A few anchors of a chunk.
struct Block {
  int64_t rows, rows_ahead;  // ahead: of the next block
  const int64_t *anchors, *places;
  const int32_t *first_child, *slots;
  int64_t child, children, children_ahead;  // the first, counted from the chunk's first; their number; of the next block
  Block(const Shown& shown, int64_t begin)
      : rows(std::min(kBlock, shown.size() - begin)), rows_ahead(std::min(kBlock, shown.size() - begin - rows)),
        anchors(&shown.anchors[begin]), places(&shown.places[begin]), first_child(&shown.first_child[begin]),
        slots(shown.slots.data() + first_child[0]), child(first_child[0]), children(first_child[rows] - first_child[0]),
        children_ahead(first_child[rows + rows_ahead] - first_child[rows]) {}
  // Children of a row, counted from the block's first.
  SW_INLINE int64_t begin(int64_t row) const { return first_child[row] - child; }
  SW_INLINE int64_t end(int64_t row) const { return first_child[row + 1] - child; }
};

SW_INLINE void copy_row(const float* from, int64_t count, float* to) {
  int64_t i = 0;
  for (; i + kNativeLanes <= count; i += kNativeLanes) store(to + i, load_native(from + i));
  for (; i < count; ++i) to[i] = from[i];
}

// Anchors of the next block, with what children are made of or without.
void add_anchors(const AnchorScene& s, int64_t rows, const int64_t* anchors, bool children, Ahead& ahead) {
  ahead.rows_of(anchors, rows);
  ahead.add_array(s.features, s.channels), ahead.add_array(s.positions, 3);
  if (children) ahead.add_array(s.offsets, 3 * s.slots), ahead.add_array(s.log_scales, 6);
}

// What the heads read, and a one for the gradient of the biases: feature, direction from the camera, 1.
void gather_inputs(const AnchorScene& s, int64_t rows, const int64_t* anchors, Rows x) {
  const int64_t channels = s.channels;
  const float* positions = s.positions;
  const Four center = load_three(s.center);
  for (int64_t r = 0; r < rows; ++r) {
    float* to = x.row(r);
    copy_row(s.features + anchors[r] * channels, channels, to);
    const Four towards = load_three(positions + 3 * anchors[r]) - center;
    const float inverse = 1.0f / std::max(std::sqrt(dot(towards, towards)), 1e-12f);
    store_three(to + channels, towards * inverse);
    to[channels + 3] = 1.0f;
  }
}

template <class Fn>
SW_INLINE void for_vectors(int64_t count, const Fn& fn) {
  for (int64_t i = 0; i < count; i += 16) fn(i);
}
void clear_rest(float* array, int64_t count) { std::memset(array + count, 0, 16 * sizeof(float)); }
void copy_to(const float* from, int64_t count, float* to) { std::memcpy(to, from, count * sizeof(float)); }
void copy_or_clear(const float* from, int64_t first, int64_t count, float* to) {
  if (from == nullptr)
    std::memset(to, 0, count * sizeof(float));
  else
    std::memcpy(to, from + first, count * sizeof(float));
  clear_rest(to, count);
}

// Answers about a block's children: three or four values, or one, of each.  `color` is tanh(x / 2), so that the colour is
// ½ + ½·color; `log_scale` with the anchor's added; `complement` 1 − sigmoid of the scales' outputs; `quat` of unit length and
// `inverse` 1 / length before.
struct Answers {
  float *color, *log_scale, *complement, *quat, *inverse;

  // From the heads' outputs, and the anchors' log scales in `anchor_scales`, child by child.
  void read(const Block& block, const Sizes& z, Rows out, const float* anchor_scales) const {
    const int64_t at_color = z.first_output[kColor], at_rest = z.first_output[kCovariance];
    for (int64_t r = 0; r < block.rows; ++r)
      for (int64_t k = block.begin(r); k < block.end(r); ++k) {
        const float *rgb = out.row(r) + at_color + 3 * block.slots[k], *rest = out.row(r) + at_rest + 7 * block.slots[k];
        const Four q = load_four(rest + 3);
        store_four(color + 3 * k, load_four(rgb)), store_four(complement + 3 * k, load_four(rest)), store_four(quat + 4 * k, q);
        inverse[k] = dot(q, q);
      }
    const int64_t three = 3 * block.children;
    clear_rest(color, three), clear_rest(complement, three), clear_rest(inverse, block.children);
    for_vectors(three, [&](int64_t i) {
      store(color + i, tanh_of(splat(0.5f) * load(color + i)));
      const V16 x = load(complement + i), zero = splat(0.0f), one = splat(1.0f), e = exp_of(-vabs(x)), part = one / (one + e);
      store(log_scale + i, load(anchor_scales + i) + vmin(zero, x) - splat(kLn2) * log2_fast(one + e));
      store(complement + i, select(x > zero, e * part, part));
    });
    for_vectors(block.children, [&](int64_t i) {
      store(inverse + i, splat(1.0f) / vmax(splat(kShortestQuat), vsqrt(load(inverse + i))));
    });
    for (int64_t k = 0; k < block.children; ++k) store_four(quat + 4 * k, load_four(quat + 4 * k) * inverse[k]);
    clear_rest(quat, 4 * block.children);
  }
};

double total(V16 v) {
  alignas(64) float lanes[16];
  store(lanes, v);
  double sum = 0;
  for (float lane : lanes) sum += lane;
  return sum;
}

// Places of AnchorChildren::squares and differences.
enum Difference { kColors, kQuats, kScales, kOpacities };

// ---------------------------------------------------------------------------------------------------------------------- forward

class Forward {
 public:
  Forward(const AnchorScene& scene, const AnchorChildren& children)
      : s(scene), out(children), z(scene), chunks(scene.visible), own(z, scene.heads, false),
        teacher(z, scene.teacher, false), with_teacher(scene.teacher[0] != nullptr) {}

  // Opacities of all children; the number of those that can be seen, or −1 where the rows do not rise or leave the scene.
  int64_t count() const {
    std::vector<int64_t> found(chunks.count);
    parallel_for(chunks.count, [&](int64_t c) { found[c] = rows_rise(chunks.begin(c), chunks.end(c)) ? count_chunk(c) : -1; });
    out.first_child[0] = 0;
    for (int64_t c = 0; c < chunks.count; ++c) {
      if (found[c] < 0) return -1;
      out.first_child[c + 1] = out.first_child[c] + found[c];
    }
    return out.first_child[chunks.count];
  }
  void write() const {
    parallel_for(chunks.count, [&](int64_t c) { write_chunk(c); });
    if (!with_teacher) return;
    const int64_t counts[4] = {3 * out.count, 4 * out.count, 3 * out.count, s.visible * s.slots};
    for (int d = 0; d < 4; ++d) {
      double sum = 0;
      for (int64_t c = 0; c < chunks.count; ++c) sum += out.squares[4 * c + d];
      out.differences[d] = static_cast<float>(sum / static_cast<double>(std::max<int64_t>(1, counts[d])));
    }
  }

 private:
  bool rows_rise(int64_t begin, int64_t end) const {
    bool good = true;
    for (int64_t v = begin; v < end; ++v) good &= s.rows[v] > (v == 0 ? -1 : s.rows[v - 1]) && s.rows[v] < s.n;
    return good && s.rows[begin] >= 0;
  }

  // The opacity head's outputs and their tanh, without gaps between anchors; whole vectors.
  void opacities_of(
      const Network& network, int64_t rows, Rows x, Rows hidden, Rows outputs, Ahead& ahead, float* raw, float* opacity) const {
    network.hidden(rows, x, kOpacity, kOpacity + 1, ahead, hidden);
    network.outputs(rows, hidden, kOpacity, ahead, outputs);
    // Each row overwrites the padding of the one before.
    for (int64_t r = 0; r < rows; ++r) copy_row(outputs.row(r), z.wide_outputs[kOpacity], raw + r * z.slots);
    for_vectors(rows * z.slots, [&](int64_t i) { store(opacity + i, tanh_of(load(raw + i))); });
  }

  int64_t count_chunk(int64_t c) const {
    static thread_local std::vector<float> storage;
    const int64_t values = kBlock * z.slots + 16 + z.wide_outputs[kOpacity];
    float *x_at, *hidden_at, *outputs_at, *raw, *opacity, *other;
    carve(storage, {{&x_at, kBlock * (z.inputs + 1)},
                    {&hidden_at, kBlock * z.wide_hidden},
                    {&outputs_at, kBlock * z.wide_outputs[kOpacity]},
                    {&raw, values},
                    {&opacity, values},
                    {&other, values}});
    const Rows x{x_at, z.inputs + 1}, hidden{hidden_at, z.wide_hidden}, outputs{outputs_at, z.wide_outputs[kOpacity]};
    int64_t found = 0;
    double squares = 0;
    for (int64_t v = chunks.begin(c); v < chunks.end(c); v += kBlock) {
      const int64_t rows = std::min(kBlock, chunks.end(c) - v), count = rows * z.slots;
      Ahead ahead;
      add_anchors(s, std::min(kBlock, chunks.end(c) - v - rows), s.rows + v + rows, false, ahead);
      gather_inputs(s, rows, s.rows + v, x);
      opacities_of(own, rows, x, hidden, outputs, ahead, raw, opacity);
      copy_to(raw, count, out.raw_opacities + v * z.slots), copy_to(opacity, count, out.opacities + v * z.slots);
      for (int64_t i = 0; i < count; ++i) found += opacity[i] > 0.0f;
      if (!with_teacher) continue;
      opacities_of(teacher, rows, x, hidden, outputs, ahead, raw, other);
      copy_to(other, count, out.teacher_opacities + v * z.slots);
      clear_rest(opacity, count), clear_rest(other, count);
      V16 sum = splat(0.0f);
      for_vectors(count, [&](int64_t i) {
        const V16 d = load(opacity + i) - load(other + i);
        sum += d * d;
      });
      squares += total(sum);
    }
    if (with_teacher) out.squares[4 * c + kOpacities] = squares;
    return found;
  }

  // What a thread works in.
  struct Scratch {
    float *x, *hidden, *outputs, *stretch, *scales, *logits, *means;
    Answers own, other;
    explicit Scratch(const Sizes& z) {
      static thread_local std::vector<float> storage;
      const int64_t one = kBlock * z.slots + 16, three = 3 * one, four = 4 * one;
      carve(storage, {{&x, kBlock * (z.inputs + 1)},
                      {&hidden, kBlock * z.all_hidden},
                      {&outputs, kBlock * z.all_outputs},
                      {&stretch, kBlock * 6 + 16},
                      {&scales, three},
                      {&logits, one},
                      {&means, three},
                      {&own.color, three}, {&own.log_scale, three}, {&own.complement, three}, {&own.inverse, one},
                      {&own.quat, four},
                      {&other.color, three}, {&other.log_scale, three}, {&other.complement, three}, {&other.inverse, one},
                      {&other.quat, four}});
    }
  };

  void write_chunk(int64_t c) const {
    static thread_local Shown shown;
    shown.find(s, out.opacities, chunks.begin(c), chunks.end(c), false);
    const Scratch scratch(z);
    double squares[3] = {0, 0, 0};
    for (int64_t begin = 0; begin < shown.size(); begin += kBlock) {
      const Block block(shown, begin);
      const int64_t at = out.first_child[c] + block.child;
      Ahead ahead;
      add_anchors(s, block.rows_ahead, block.anchors + block.rows, true, ahead);
      for (const float* three : {out.means, out.log_scales, out.sh0, out.kept}) ahead.add_span(three, 3, at, block.children);
      ahead.add_span(out.quats, 4, at, block.children);
      gather_inputs(s, block.rows, block.anchors, {scratch.x, z.inputs + 1});
      place_children(block, at, scratch);
      ask(own, block, scratch, ahead, scratch.own);
      if (with_teacher) {
        ask(teacher, block, scratch, ahead, scratch.other);
        compare(block.children, at, scratch.own, scratch.other, squares);
      }
      write_children(block.children, at, scratch.own);
    }
    if (with_teacher) std::copy(squares, squares + 3, out.squares + 4 * c);
  }

  void ask(const Network& network, const Block& block, const Scratch& scratch, Ahead& ahead, const Answers& answers) const {
    const Rows hidden{scratch.hidden, z.all_hidden}, outputs{scratch.outputs, z.all_outputs};
    network.hidden(block.rows, {scratch.x, z.inputs + 1}, kColor, kHeads, ahead, hidden);
    network.outputs(block.rows, hidden, kColor, ahead, outputs);
    network.outputs(block.rows, hidden, kCovariance, ahead, outputs);
    answers.read(block, z, outputs, scratch.scales);
  }

  // All that takes no network but the opacity's: centres, logits, rows and slots; and the anchors' scales, child by child.
  void place_children(const Block& block, int64_t at, const Scratch& scratch) const {
    for (int64_t r = 0; r < block.rows; ++r) copy_row(s.log_scales + 6 * block.anchors[r], 6, scratch.stretch + 6 * r);
    const float* log_scales = s.log_scales;
    for_vectors(6 * block.rows, [&](int64_t i) { store(scratch.stretch + i, exp_of(load(scratch.stretch + i))); });
    const float *positions = s.positions, *offsets = s.offsets, *raw = out.raw_opacities;
    const int64_t slots = z.slots;
    int64_t *row_of = out.row_of + at, *slot_of = out.slot_of + at;
    for (int64_t r = 0; r < block.rows; ++r) {
      const int64_t anchor = block.anchors[r], place = block.places[r] * slots;
      const Four position = load_three(positions + 3 * anchor), stretch = load_four(scratch.stretch + 6 * r);
      const Four scales = load_three(log_scales + 6 * anchor + 3);
      for (int64_t k = block.begin(r); k < block.end(r); ++k) {
        const int64_t slot = block.slots[k];
        store_four(scratch.means + 3 * k, position + load_three(offsets + 3 * (anchor * slots + slot)) * stretch);
        store_four(scratch.scales + 3 * k, scales);
        scratch.logits[k] = raw[place + slot];
        row_of[k] = anchor, slot_of[k] = slot;
      }
    }
    clear_rest(scratch.scales, 3 * block.children);
    for_vectors(block.children, [&](int64_t i) { store(scratch.logits + i, logit_of_tanh(load(scratch.logits + i))); });
    copy_to(scratch.means, 3 * block.children, out.means + 3 * at);
    copy_to(scratch.logits, block.children, out.logits + at);
  }

  // Adds the squares of differences; the teacher's scales replace their logarithms and everything is kept for the backward pass.
  void compare(int64_t children, int64_t at, const Answers& answers, const Answers& others, double* squares) const {
    V16 color = splat(0.0f), scale = color, quat = color;
    for_vectors(3 * children, [&](int64_t i) {
      const V16 d = splat(0.5f) * (load(answers.color + i) - load(others.color + i)), theirs = exp_of(load(others.log_scale + i));
      const V16 e = exp_of(load(answers.log_scale + i)) - theirs;
      store(others.log_scale + i, theirs);
      color += d * d, scale += e * e;
    });
    for_vectors(4 * children, [&](int64_t i) {
      const V16 d = load(answers.quat + i) - load(others.quat + i);
      quat += d * d;
    });
    squares[kColors] += total(color), squares[kQuats] += total(quat), squares[kScales] += total(scale);
    if (out.others == nullptr) return;
    const int64_t m = out.count;
    copy_to(others.color, 3 * children, out.others + 3 * at);
    copy_to(others.log_scale, 3 * children, out.others + 3 * (m + at));
    copy_to(others.complement, 3 * children, out.others + 3 * (2 * m + at));
    copy_to(others.quat, 4 * children, out.others + 9 * m + 4 * at);
    copy_to(others.inverse, children, out.others + 13 * m + at);
  }

  void write_children(int64_t children, int64_t at, const Answers& answers) const {
    for_vectors(3 * children, [&](int64_t i) { store(answers.color + i, splat(0.5f / kY00) * load(answers.color + i)); });
    copy_to(answers.color, 3 * children, out.sh0 + 3 * at);
    copy_to(answers.log_scale, 3 * children, out.log_scales + 3 * at);
    copy_to(answers.quat, 4 * children, out.quats + 4 * at);
    if (out.kept == nullptr) return;
    copy_to(answers.complement, 3 * children, out.kept + 3 * at);
    copy_to(answers.inverse, children, out.kept + 3 * out.count + at);
  }

  const AnchorScene& s;
  const AnchorChildren& out;
  const Sizes z;
  const Chunks chunks;
  const Network own, teacher;
  const bool with_teacher;
};

// --------------------------------------------------------------------------------------------------------------------- backward

// Sums of the weights' gradients of a chunk, laid out as the products write them: first layers with their biases as one more
// row, second layers, their biases.
struct Sums {
  int64_t second[kHeads], last, size;
  explicit Sums(const Sizes& z) {
    int64_t next = (z.inputs + 1) * z.all_hidden;
    for (int h = 0; h < kHeads; ++h) second[h] = next, next += z.outputs[h] * z.wide_hidden;
    last = next, size = padded(next + z.all_outputs, 16);
  }
};

class Backward {
 public:
  Backward(const AnchorScene& scene, const AnchorChildren& children, const AnchorGradients& gradients)
      : s(scene), saved(children), g(gradients), z(scene), chunks(scene.visible), sums(z), own(z, scene.heads, true),
        teacher(z, scene.teacher, true), compares(scene.teacher[0] != nullptr && gradients.differences != nullptr),
        passes(compares && scene.teacher_passes_gradients) {
    const int64_t m = saved.count, counts[4] = {3 * m, 4 * m, 3 * m, s.visible * s.slots};
    for (int d = 0; d < 4; ++d) factor[d] = compares ? 2.0f * g.differences[d] / std::max<int64_t>(1, counts[d]) : 0.0f;
  }

  void run() {
    static thread_local std::vector<float> storage;
    carve(storage, {{&partial, chunks.count * sums.size}});
    for (int64_t c = 0; c < chunks.count; ++c)
      if (last_anchor(c) - first_anchor(c) > kLongGap)
        parallel_ranges(last_anchor(c) - first_anchor(c), kLongGap, [&](int64_t begin, int64_t end) {
          clear_anchors(first_anchor(c) + begin, first_anchor(c) + end);
        });
    parallel_for(chunks.count, [&](int64_t c) { run_chunk(c); });
    parallel_ranges(sums.size / 16, 64, [&](int64_t begin, int64_t end) {
      for (int64_t i = 16 * begin; i < 16 * end; i += 16) {
        V16 sum = load(partial + i);
        for (int64_t c = 1; c < chunks.count; ++c) sum += load(partial + c * sums.size + i);
        store(partial + i, sum);
      }
    });
    for (int h = 0; h < kHeads; ++h) unpack(h);
  }

 private:
  // A chunk answers for the anchors from its first to the next one's.
  int64_t first_anchor(int64_t c) const { return c == 0 ? 0 : s.rows[chunks.begin(c)]; }
  int64_t last_anchor(int64_t c) const { return c + 1 == chunks.count ? s.n : s.rows[chunks.begin(c + 1)]; }
  void clear_anchors(int64_t begin, int64_t end) const {
    std::memset(g.offsets + 3 * begin * z.slots, 0, 3 * (end - begin) * z.slots * sizeof(float));
    if (z.channels > 0) std::memset(g.features + begin * z.channels, 0, (end - begin) * z.channels * sizeof(float));
    std::memset(g.anchor_scales + 6 * begin, 0, 6 * (end - begin) * sizeof(float));
  }

  // Gradients of the answers: of `color` and `log_scale` as Answers has them, of quaternions of unit length.
  struct Changes {
    float *color, *log_scale, *quat;
  };
  struct Scratch {
    float *x, *hidden, *outputs, *other_outputs, *d_hidden, *d_features, *stretch, *means, *logits;
    Answers own, other;
    Changes d_own, d_other;
    explicit Scratch(const Sizes& z) {
      static thread_local std::vector<float> storage;
      const int64_t one = kBlock * z.slots + 16, three = 3 * one, four = 4 * one;
      carve(storage, {{&x, kBlock * (z.inputs + 1)},
                      {&hidden, kBlock * z.all_hidden},
                      {&outputs, kBlock * z.all_outputs},
                      {&other_outputs, kBlock * z.all_outputs},
                      {&d_hidden, kBlock * z.all_hidden},
                      {&d_features, kBlock * z.wide_channels},
                      {&stretch, kBlock * 6 + 16},
                      {&means, three},
                      {&logits, one},
                      {&own.color, three}, {&own.log_scale, three}, {&own.complement, three}, {&own.inverse, one},
                      {&own.quat, four},
                      {&other.color, three}, {&other.log_scale, three}, {&other.complement, three}, {&other.inverse, one},
                      {&other.quat, four},
                      {&d_own.color, three}, {&d_own.log_scale, three},
                      {&d_own.quat, four},
                      {&d_other.color, three}, {&d_other.log_scale, three},
                      {&d_other.quat, four}});
    }
  };

  void run_chunk(int64_t c) const {
    static thread_local Shown shown;
    if (last_anchor(c) - first_anchor(c) <= kLongGap) clear_anchors(first_anchor(c), last_anchor(c));
    float* sum = partial + c * sums.size;
    std::memset(sum, 0, sums.size * sizeof(float));
    shown.find(s, saved.opacities, chunks.begin(c), chunks.end(c), compares);
    const Scratch w(z);
    const Rows x{w.x, z.inputs + 1}, hidden{w.hidden, z.all_hidden}, d_hidden{w.d_hidden, z.all_hidden};
    const Rows outputs{w.outputs, z.all_outputs}, other_outputs{w.other_outputs, z.all_outputs};
    const Rows d_features{w.d_features, z.wide_channels};
    for (int64_t begin = 0; begin < shown.size(); begin += kBlock) {
      const Block block(shown, begin);
      const int64_t at = saved.first_child[c] + block.child;
      Ahead ahead;
      add_anchors(s, block.rows_ahead, block.anchors + block.rows, true, ahead);
      add_children(at + block.children, block.children_ahead, ahead);
      gather_inputs(s, block.rows, block.anchors, x);
      read_children(block.children, at, w);
      if (compares) compare(block.children, at, w);
      through_activations(block, w.d_own, w.own, outputs);
      if (passes) through_activations(block, w.d_other, w.other, other_outputs);
      if (compares) compare_opacities(block, outputs, other_outputs);
      anchor_gradients(block, w, outputs);
      own.hidden(block.rows, x, 0, kHeads, ahead, hidden);
      own.hidden_gradient(block.rows, outputs, hidden, ahead, d_hidden);
      own.feature_gradient(block.rows, d_hidden, false, ahead, d_features);
      add_weights(block.rows, x, hidden, outputs, d_hidden, sum);
      if (passes) {
        teacher.hidden(block.rows, x, 0, kHeads, ahead, hidden);
        teacher.hidden_gradient(block.rows, other_outputs, hidden, ahead, d_hidden);
        teacher.feature_gradient(block.rows, d_hidden, true, ahead, d_features);
      }
      for (int64_t r = 0; r < block.rows; ++r)
        copy_row(d_features.row(r), z.channels, g.features + block.anchors[r] * z.channels);
    }
  }

  // Children of the next block.
  void add_children(int64_t at, int64_t children, Ahead& ahead) const {
    for (const float* three : {g.means, g.log_scales, g.sh0}) ahead.add_span(three, 3, at, children);
    ahead.add_span(saved.sh0, 3, at, children), ahead.add_span(saved.kept, 3, at, children);
    ahead.add_span(g.quats, 4, at, children), ahead.add_span(saved.quats, 4, at, children);
    ahead.add_span(g.logits, 1, at, children);
    ahead.add_span(saved.kept, 1, 3 * saved.count + at, children);
  }
  void read_children(int64_t children, int64_t at, const Scratch& w) const {
    const int64_t three = 3 * children;
    copy_or_clear(g.means, 3 * at, three, w.means), copy_or_clear(g.logits, at, children, w.logits);
    copy_or_clear(g.sh0, 3 * at, three, w.d_own.color), copy_or_clear(g.log_scales, 3 * at, three, w.d_own.log_scale);
    copy_or_clear(saved.sh0, 3 * at, three, w.own.color);
    copy_or_clear(saved.kept, 3 * at, three, w.own.complement);
    copy_or_clear(saved.kept, 3 * saved.count + at, children, w.own.inverse);
    for_vectors(three, [&](int64_t i) {
      store(w.own.color + i, splat(2.0f * kY00) * load(w.own.color + i));
      store(w.d_own.color + i, splat(0.5f / kY00) * load(w.d_own.color + i));
    });
    copy_or_clear(saved.quats, 4 * at, 4 * children, w.own.quat), copy_or_clear(g.quats, 4 * at, 4 * children, w.d_own.quat);
  }

  // Adds what the differences say to the gradients of the answers, and writes the teacher's.
  void compare(int64_t children, int64_t at, const Scratch& w) const {
    const int64_t m = saved.count, three = 3 * children;
    copy_or_clear(saved.log_scales, 3 * at, three, w.own.log_scale);
    copy_or_clear(saved.others, 3 * at, three, w.other.color);
    copy_or_clear(saved.others, 3 * (m + at), three, w.other.log_scale);
    copy_or_clear(saved.others, 3 * (2 * m + at), three, w.other.complement);
    copy_or_clear(saved.others, 9 * m + 4 * at, 4 * children, w.other.quat);
    copy_or_clear(saved.others, 13 * m + at, children, w.other.inverse);
    for_vectors(three, [&](int64_t i) {
      const V16 color = splat(0.25f * factor[kColors]) * (load(w.own.color + i) - load(w.other.color + i));
      const V16 mine = exp_of(load(w.own.log_scale + i)), theirs = load(w.other.log_scale + i);
      const V16 scale = splat(factor[kScales]) * (mine - theirs);
      store(w.d_own.color + i, load(w.d_own.color + i) + color), store(w.d_other.color + i, -color);
      store(w.d_own.log_scale + i, load(w.d_own.log_scale + i) + scale * mine), store(w.d_other.log_scale + i, -scale * theirs);
    });
    for_vectors(4 * children, [&](int64_t i) {
      const V16 quat = splat(factor[kQuats]) * (load(w.own.quat + i) - load(w.other.quat + i));
      store(w.d_own.quat + i, load(w.d_own.quat + i) + quat), store(w.d_other.quat + i, -quat);
    });
  }

  // Gradients of a block's outputs from those of its answers; those of other children and of opacities are zero.
  void through_activations(const Block& block, const Changes& d, const Answers& a, Rows out) const {
    for_vectors(3 * block.children, [&](int64_t i) {
      const V16 color = load(a.color + i);
      store(a.color + i, splat(0.5f) * load(d.color + i) * (splat(1.0f) - color * color));
      store(a.complement + i, load(d.log_scale + i) * load(a.complement + i));
    });
    std::memset(out.at, 0, block.rows * out.stride * sizeof(float));
    const int64_t at_color = z.first_output[kColor], at_rest = z.first_output[kCovariance];
    for (int64_t r = 0; r < block.rows; ++r)
      for (int64_t k = block.begin(r); k < block.end(r); ++k) {
        float *rgb = out.row(r) + at_color + 3 * block.slots[k], *rest = out.row(r) + at_rest + 7 * block.slots[k];
        const Four q = load_four(a.quat + 4 * k), change = load_four(d.quat + 4 * k);
        const float inverse = a.inverse[k], along = inverse < 1.0f / kShortestQuat ? dot(q, change) : 0.0f;
        store_three(rgb, load_four(a.color + 3 * k)), store_four(rest, load_four(a.complement + 3 * k));
        store_four(rest + 3, (change - q * along) * inverse);
      }
  }
  void compare_opacities(const Block& block, Rows outputs, Rows other_outputs) const {
    for (int64_t r = 0; r < block.rows; ++r) {
      const int64_t place = block.places[r] * z.slots;
      const float *mine = saved.opacities + place, *theirs = saved.teacher_opacities + place;
      for (int64_t slot = 0; slot < z.slots; ++slot) {
        const float t = mine[slot], other = theirs[slot], change = factor[kOpacities] * (t - other);
        outputs.row(r)[slot] += change * (1.0f - t * t);
        if (passes) other_outputs.row(r)[slot] -= change * (1.0f - other * other);
      }
    }
  }

  // Gradients of offsets and log scales, and of the opacities' outputs by way of the logits: d logit / dz = (1 + t) / t.
  void anchor_gradients(const Block& block, const Scratch& w, Rows outputs) const {
    for (int64_t r = 0; r < block.rows; ++r) copy_row(s.log_scales + 6 * block.anchors[r], 6, w.stretch + 6 * r);
    for_vectors(6 * block.rows, [&](int64_t i) { store(w.stretch + i, exp_of(load(w.stretch + i))); });
    const float *offsets = s.offsets, *opacities = saved.opacities;
    float *d_offsets = g.offsets, *d_scales = g.anchor_scales;
    const int64_t slots = z.slots;
    for (int64_t r = 0; r < block.rows; ++r) {
      const int64_t anchor = block.anchors[r], place = block.places[r] * slots;
      const Four stretch = load_four(w.stretch + 6 * r);
      Four first = splat_four(0.0f), last = first;
      for (int64_t k = block.begin(r); k < block.end(r); ++k) {
        const int64_t slot = block.slots[k], at = 3 * (anchor * slots + slot);
        const float opacity = opacities[place + slot];
        if (opacity >= kSmallestOpacity) outputs.row(r)[slot] += w.logits[k] * (1.0f + opacity) / opacity;
        const Four change = load_four(w.means + 3 * k) * stretch;
        store_three(d_offsets + at, change);
        first += change * load_three(offsets + at), last += load_four(w.d_own.log_scale + 3 * k);
      }
      if (passes)
        for (int64_t k = block.begin(r); k < block.end(r); ++k) last += load_four(w.d_other.log_scale + 3 * k);
      store_four(d_scales + 6 * anchor, first), store_three(d_scales + 6 * anchor + 3, last);
    }
  }

  void add_weights(int64_t rows, Rows x, Rows hidden, Rows outputs, Rows d_hidden, float* sum) const {
    if (g.heads[0] == nullptr) return;
    add_transposed(rows, x, z.inputs + 1, d_hidden, z.all_hidden, {sum, z.all_hidden});
    for (int h = 0; h < kHeads; ++h)
      add_transposed(
          rows, {outputs.at + z.first_output[h], outputs.stride}, z.outputs[h], {hidden.at + h * z.wide_hidden, hidden.stride},
          z.wide_hidden, {sum + sums.second[h], z.wide_hidden});
    for (int64_t o = 0; o < z.all_outputs; o += kNativeLanes) {
      Native biases = load_native(sum + sums.last + o);
      for (int64_t r = 0; r < rows; ++r) biases += load_native(outputs.row(r) + o);
      store(sum + sums.last + o, biases);
    }
  }

  // A head's gradient as its numbers are stored.
  void unpack(int h) const {
    if (g.heads[h] == nullptr) return;
    float *first = g.heads[h], *bias = first + z.hidden * z.inputs;
    float *second = bias + z.hidden, *last = second + z.outputs[h] * z.hidden;
    for (int64_t u = 0; u < z.hidden; ++u) {
      const float* column = partial + h * z.wide_hidden + u;
      for (int64_t i = 0; i < z.inputs; ++i) first[u * z.inputs + i] = column[i * z.all_hidden];
      bias[u] = column[z.inputs * z.all_hidden];
    }
    for (int64_t o = 0; o < z.outputs[h]; ++o) {
      copy_to(partial + sums.second[h] + o * z.wide_hidden, z.hidden, second + o * z.hidden);
      last[o] = partial[sums.last + z.first_output[h] + o];
    }
  }

  const AnchorScene& s;
  const AnchorChildren& saved;
  const AnchorGradients& g;
  const Sizes z;
  const Chunks chunks;
  const Sums sums;
  const Network own, teacher;
  const bool compares, passes;
  float factor[4];
  float* partial = nullptr;  // [chunks, sums.size]
};

// ----------------------------------------------------------------------------------------------------- anchors a camera may see

struct Pyramid {
  float pose[12];  // rows of camera_from_world
  float slopes[4], reaches[4];  // left, right, top, bottom: of the plane, and by how much a sphere of radius 1 reaches across
  float near;

  // Bit `lane` of the result: whether that anchor may be seen.
  SW_INLINE void marks(const V16* position, const V16* log_scales, int32_t* out) const {
    V16 seen[3];
    for (int i = 0; i < 3; ++i)
      seen[i] = splat(pose[4 * i]) * position[0] + splat(pose[4 * i + 1]) * position[1] + splat(pose[4 * i + 2]) * position[2] +
                splat(pose[4 * i + 3]);
    const V16 radius = exp_of(vmax(vmax(log_scales[0], log_scales[1]), log_scales[2]));
    I16 inside = seen[2] > splat(near);
    for (int i = 0; i < 3; ++i) inside = inside & (log_scales[i] == log_scales[i]);  // not where one is NaN
    for (int side = 0; side < 4; ++side) {
      const V16 over = seen[side / 2] - splat(slopes[side]) * seen[2];
      inside = inside & ((side % 2 == 0 ? over : -over) > -(radius * splat(reaches[side])));
    }
    store(out, inside);
  }
};

}  // namespace
}  // namespace sw

using namespace sw;

// Chunks that so many visible anchors are cut into.
SW_EXPORT int64_t sw_anchor_decoder_chunks(int64_t visible) { return Chunks(visible).count; }

// Writes opacities, raw_opacities, teacher_opacities, first_child and a part of `squares`; returns the number of children that
// can be seen, or −1 where the rows do not rise or leave the scene.
SW_EXPORT int64_t sw_anchor_decoder_count(const AnchorScene* scene, const AnchorChildren* children) {
  return Forward(*scene, *children).count();
}
// Writes the rest; `count` must be what was returned.
SW_EXPORT void sw_anchor_decoder_write(const AnchorScene* scene, const AnchorChildren* children) {
  Forward(*scene, *children).write();
}

// All gradients, those of anchors that are not visible too; `visible` must not be 0.
SW_EXPORT void sw_anchor_decoder_backward(
    const AnchorScene* scene, const AnchorChildren* children, const AnchorGradients* gradients) {
  Backward(*scene, *children, *gradients).run();
}

// See kernels/anchor_decoder.  pose: rows of camera_from_world, 12 values; slopes and reaches of the planes left, right, top and
// bottom; rows: [n], of which the first are written.  Returns how many.
SW_EXPORT int64_t sw_anchor_decoder_visible(
    int64_t n, const float* positions, const float* log_scales, const float* pose, const float* slopes, const float* reaches,
    float near, int64_t* rows) {
  Pyramid pyramid;
  std::copy(pose, pose + 12, pyramid.pose), std::copy(slopes, slopes + 4, pyramid.slopes);
  std::copy(reaches, reaches + 4, pyramid.reaches), pyramid.near = near;
  const int64_t chunks = (n + kVisibleGrain - 1) / kVisibleGrain;
  std::vector<int64_t> found(chunks);
  parallel_for(chunks, [&](int64_t c) {
    const int64_t end = std::min(n, (c + 1) * kVisibleGrain);
    int64_t* next = rows + c * kVisibleGrain;
    for (int64_t begin = c * kVisibleGrain; begin < end; begin += 16) {
      alignas(64) float columns[6][16] = {};
      alignas(64) int32_t marks[16];
      const int count = static_cast<int>(std::min<int64_t>(16, end - begin));
      for (int lane = 0; lane < count; ++lane) {
        const float *position = positions + 3 * (begin + lane), *scale = log_scales + 6 * (begin + lane);
        for (int k = 0; k < 3; ++k) columns[k][lane] = position[k], columns[3 + k][lane] = scale[k];
      }
      V16 values[6];
      for (int k = 0; k < 6; ++k) values[k] = load(columns[k]);
      pyramid.marks(values, values + 3, marks);
      for (int lane = 0; lane < count; ++lane) *next = begin + lane, next -= marks[lane];  // a true mark is −1
    }
    found[c] = next - (rows + c * kVisibleGrain);
  });
  int64_t total = 0;
  for (int64_t c = 0; c < chunks; ++c) {
    std::memmove(rows + total, rows + c * kVisibleGrain, found[c] * sizeof(int64_t));
    total += found[c];
  }
  return total;
}
