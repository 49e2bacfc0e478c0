// Batch normalisation of rows with an optional residual and ReLU, forward and backward: each direction reads memory twice.
//
// Mean and variance come from pieces of rows that fit the second-level cache: a piece's mean, then its squares about that mean, and
// the pieces combined in order and in double precision.  Pieces depend on the shape only, so bits do not depend on the number of
// threads.
// Sources: Ioffe and Szegedy 2015 (arXiv 1502.03167), Algorithm 1 and the gradients of section 3; Chan, Golub and LeVeque 1983 for
// combining variances.
#include <algorithm>
#include <vector>

#include "common.h"

namespace sw {
namespace {

constexpr int64_t kPieceValues = 32768;

struct Rows {
  int64_t n, channels, padded, piece;  // padded: channels to the next multiple of 16
  Rows(int64_t rows, int64_t width)
      : n(rows), channels(width), padded((width + 15) / 16 * 16), piece(std::clamp<int64_t>(kPieceValues / width, 16, 512)) {}
  int64_t pieces() const { return (n + piece - 1) / piece; }
  int64_t begin(int64_t p) const { return p * piece; }
  int64_t end(int64_t p) const { return std::min(n, (p + 1) * piece); }
};

#if defined(__AVX2__) && !defined(__AVX512F__)
SW_INLINE __m256i lanes_below(int64_t count) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
#endif

// Up to sixteen values; lanes beyond `count` are zero.
SW_INLINE V16 load_some(const float* from, int64_t count) {
  if (count >= 16) return load(from);
#if defined(__AVX512F__)
  return reinterpret_cast<V16>(_mm512_maskz_loadu_ps(static_cast<__mmask16>((1 << count) - 1), from));
#elif defined(__AVX2__)
  return twice(reinterpret_cast<Native>(_mm256_maskload_ps(from, lanes_below(count))),
               reinterpret_cast<Native>(_mm256_maskload_ps(from + 8, lanes_below(count - 8))));
#else
  alignas(64) float lanes[16] = {};
  std::memcpy(lanes, from, count * sizeof(float));
  return load(lanes);
#endif
}
SW_INLINE void store_some(float* to, V16 v, int64_t count) {
  if (count >= 16) return store(to, v);
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(to, static_cast<__mmask16>((1 << count) - 1), reinterpret_cast<__m512>(v));
#elif defined(__AVX2__)
  _mm256_maskstore_ps(to, lanes_below(count), reinterpret_cast<__m256>(v.low));
  _mm256_maskstore_ps(to + 8, lanes_below(count - 8), reinterpret_cast<__m256>(v.high));
#else
  alignas(64) float lanes[16];
  store(lanes, v);
  std::memcpy(to, lanes, count * sizeof(float));
#endif
}

// Adds term(position, channel, count, values) of every row of a piece to `Sums` arrays of padded channels, which begin as zeros.
// Memory is read row by row; four rows share one visit to the arrays.
template <int Sums, class Term>
SW_INLINE void add_up(const Rows& rows, int64_t piece, float* sums, const Term& term) {
  std::memset(sums, 0, Sums * rows.padded * sizeof(float));
  int64_t r = rows.begin(piece);
  const auto add = [&](auto together) {
    for (; r + together() <= rows.end(piece); r += together())
      for (int64_t first = 0; first < rows.channels; first += 16) {
        V16 total[Sums];
        for (int s = 0; s < Sums; ++s) total[s] = load(sums + s * rows.padded + first);
        for (int i = 0; i < together(); ++i) {
          V16 values[Sums];
          term((r + i) * rows.channels + first, first, rows.channels - first, values);
          for (int s = 0; s < Sums; ++s) total[s] += values[s];
        }
        for (int s = 0; s < Sums; ++s) store(sums + s * rows.padded + first, total[s]);
      }
  };
  add(std::integral_constant<int, 4>());
  add(std::integral_constant<int, 1>());
}

// Comparisons are written so that NaN passes.
SW_INLINE V16 relu(V16 v) { return select(v <= splat(0.0f), splat(0.0f), v); }
SW_INLINE V16 relu_gradient(V16 gradient, V16 out) { return select(out <= splat(0.0f), splat(0.0f), gradient); }

// Mean and mean squared deviation of every channel.
void statistics(const Rows& rows, const float* x, std::vector<double>& mean, std::vector<double>& variance) {
  const int64_t w = rows.padded;
  std::vector<float> means(rows.pieces() * w), squares(rows.pieces() * w);
  parallel_for(rows.pieces(), [&](int64_t p) {
    float *center = &means[p * w], *square = &squares[p * w];
    add_up<1>(rows, p, center, [&](int64_t at, int64_t, int64_t count, V16* v) { v[0] = load_some(x + at, count); });
    for (int64_t k = 0; k < w; ++k) center[k] /= static_cast<float>(rows.end(p) - rows.begin(p));
    add_up<1>(rows, p, square, [&](int64_t at, int64_t first, int64_t count, V16* v) {
      const V16 d = load_some(x + at, count) - load(center + first);
      v[0] = d * d;
    });
  });
  mean.assign(rows.channels, 0.0), variance.assign(rows.channels, 0.0);
  for (int64_t p = 0; p < rows.pieces(); ++p) {
    const double before = static_cast<double>(rows.begin(p)), here = static_cast<double>(rows.end(p) - rows.begin(p));
    for (int64_t k = 0; k < rows.channels; ++k) {
      const double step = means[p * w + k] - mean[k];
      mean[k] += step * here / (before + here);
      variance[k] += squares[p * w + k] + step * step * before * here / (before + here);
    }
  }
  for (double& v : variance) v /= static_cast<double>(rows.n);
}

}  // namespace
}  // namespace sw

using namespace sw;

// out = relu((x − mean)·inverse_deviation·weight + bias + residual), where residual may be null.  With `batch_statistics` (n ≥ 2)
// mean and variance are the batch's and the running ones are moved towards them, else they are the running ones.  What was used is
// left in `mean` and `inverse_deviation`.
SW_EXPORT void sw_batch_norm(
    int64_t n, int64_t channels, const float* x, const float* residual, const float* weight, const float* bias, float* running_mean,
    float* running_variance, int batch_statistics, double momentum, double epsilon, int with_relu, float* mean, float* inverse_deviation,
    float* out) {
  const Rows rows(n, channels);
  std::vector<double> batch_mean(running_mean, running_mean + channels), batch_variance(running_variance, running_variance + channels);
  if (batch_statistics) statistics(rows, x, batch_mean, batch_variance);
  std::vector<float> scale(rows.padded), shift(rows.padded);
  for (int64_t k = 0; k < channels; ++k) {
    const double inverse = 1.0 / std::sqrt(batch_variance[k] + epsilon);
    mean[k] = static_cast<float>(batch_mean[k]), inverse_deviation[k] = static_cast<float>(inverse);
    scale[k] = static_cast<float>(inverse * weight[k]);
    shift[k] = static_cast<float>(bias[k] - batch_mean[k] * inverse * weight[k]);
    if (!batch_statistics) continue;
    const double unbiased = batch_variance[k] * static_cast<double>(n) / static_cast<double>(n - 1);
    running_mean[k] = static_cast<float>((1 - momentum) * running_mean[k] + momentum * batch_mean[k]);
    running_variance[k] = static_cast<float>((1 - momentum) * running_variance[k] + momentum * unbiased);
  }
  parallel_for(rows.pieces(), [&](int64_t p) {
    for (int64_t r = rows.begin(p); r < rows.end(p); ++r)
      for (int64_t first = 0; first < channels; first += 16) {
        const int64_t at = r * channels + first, count = channels - first;
        V16 y = load_some(x + at, count) * load(&scale[first]) + load(&shift[first]);
        if (residual != nullptr) y += load_some(residual + at, count);
        store_some(out + at, with_relu ? relu(y) : y, count);
      }
  });
}

// Gradients of sw_batch_norm.  `out` is its result, or null without ReLU; `d_residual` may be null.
SW_EXPORT void sw_batch_norm_gradient(
    int64_t n, int64_t channels, const float* upstream, const float* x, const float* out, const float* weight, const float* mean,
    const float* inverse_deviation, int batch_statistics, float* d_x, float* d_residual, float* d_weight, float* d_bias) {
  const Rows rows(n, channels);
  const int64_t c = channels;
  std::vector<float> center(rows.padded), sums(rows.pieces() * 2 * rows.padded);  // per piece: Σ g, then Σ g·(x − mean)
  std::copy(mean, mean + c, center.begin());
  parallel_for(rows.pieces(), [&](int64_t p) {
    add_up<2>(rows, p, &sums[2 * p * rows.padded], [&](int64_t at, int64_t first, int64_t count, V16* v) {
      v[0] = load_some(upstream + at, count);
      if (out != nullptr) v[0] = relu_gradient(v[0], load_some(out + at, count));
      if (d_residual != nullptr) store_some(d_residual + at, v[0], count);
      v[1] = v[0] * (load_some(x + at, count) - load(&center[first]));
    });
  });
  std::vector<double> sum(c, 0.0), moment(c, 0.0);
  for (int64_t p = 0; p < rows.pieces(); ++p)
    for (int64_t k = 0; k < c; ++k) sum[k] += sums[2 * p * rows.padded + k], moment[k] += sums[(2 * p + 1) * rows.padded + k];
  // d_x = scale·(g − Σg/n − (x − mean)·inverse²·Σg(x − mean)/n) = scale·g + slope·(x − mean) + shift
  std::vector<float> scale(rows.padded), slope(rows.padded), shift(rows.padded);
  for (int64_t k = 0; k < c; ++k) {
    const double inverse = inverse_deviation[k], gain = inverse * weight[k];
    d_weight[k] = static_cast<float>(moment[k] * inverse), d_bias[k] = static_cast<float>(sum[k]);
    scale[k] = static_cast<float>(gain);
    slope[k] = batch_statistics ? static_cast<float>(-gain * inverse * inverse * moment[k] / static_cast<double>(n)) : 0.0f;
    shift[k] = batch_statistics ? static_cast<float>(-gain * sum[k] / static_cast<double>(n)) : 0.0f;
  }
  // What the first pass left in d_residual already has the ReLU in it.
  const float* from = d_residual != nullptr ? d_residual : upstream;
  const float* mask = d_residual != nullptr ? nullptr : out;
  parallel_for(rows.pieces(), [&](int64_t p) {
    for (int64_t r = rows.begin(p); r < rows.end(p); ++r)
      for (int64_t first = 0; first < c; first += 16) {
        const int64_t at = r * c + first, count = c - first;
        V16 g = load_some(from + at, count);
        if (mask != nullptr) g = relu_gradient(g, load_some(mask + at, count));
        const V16 deviation = load_some(x + at, count) - load(&center[first]);
        store_some(d_x + at, load(&scale[first]) * g + load(&slope[first]) * deviation + load(&shift[first]), count);
      }
  });
}
