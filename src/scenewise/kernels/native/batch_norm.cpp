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
  int64_t n, channels, piece;
  Rows(int64_t rows, int64_t width) : n(rows), channels(width), piece(std::clamp<int64_t>(kPieceValues / width, 16, 512)) {}
  int64_t pieces() const { return (n + piece - 1) / piece; }
  int64_t begin(int64_t p) const { return p * piece; }
  int64_t end(int64_t p) const { return std::min(n, (p + 1) * piece); }
};

// Up to sixteen values; lanes beyond `count` are zero.
SW_INLINE V16 load_some(const float* from, int64_t count) {
  if (count >= 16) return load(from);
  V16 v = splat(0.0f);
  std::memcpy(&v, from, count * sizeof(float));
  return v;
}
SW_INLINE void store_some(float* to, V16 v, int64_t count) {
  if (count >= 16)
    store(to, v);
  else
    std::memcpy(to, &v, count * sizeof(float));
}

// Comparisons are written so that NaN passes.
SW_INLINE V16 relu(V16 v) { return v <= splat(0.0f) ? splat(0.0f) : v; }
SW_INLINE V16 relu_gradient(V16 gradient, V16 out) { return out <= splat(0.0f) ? splat(0.0f) : gradient; }

// Mean and mean squared deviation of every channel.
void statistics(const Rows& rows, const float* x, std::vector<double>& mean, std::vector<double>& variance) {
  const int64_t c = rows.channels;
  std::vector<float> means(rows.pieces() * c), squares(rows.pieces() * c);
  parallel_for(rows.pieces(), [&](int64_t p) {
    const float scale = 1.0f / static_cast<float>(rows.end(p) - rows.begin(p));
    for (int64_t first = 0; first < c; first += 16) {
      V16 sum = splat(0.0f), square = splat(0.0f);
      for (int64_t r = rows.begin(p); r < rows.end(p); ++r) sum += load_some(x + r * c + first, c - first);
      const V16 center = sum * scale;
      for (int64_t r = rows.begin(p); r < rows.end(p); ++r) {
        const V16 d = load_some(x + r * c + first, c - first) - center;
        square += d * d;
      }
      store_some(&means[p * c + first], center, c - first);
      store_some(&squares[p * c + first], square, c - first);
    }
  });
  mean.assign(c, 0.0), variance.assign(c, 0.0);
  for (int64_t p = 0; p < rows.pieces(); ++p) {
    const double before = static_cast<double>(rows.begin(p)), here = static_cast<double>(rows.end(p) - rows.begin(p));
    for (int64_t k = 0; k < c; ++k) {
      const double step = means[p * c + k] - mean[k];
      mean[k] += step * here / (before + here);
      variance[k] += squares[p * c + k] + step * step * before * here / (before + here);
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
  std::vector<float> scale(channels + 16), shift(channels + 16);
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
  // Per piece: Σ g and Σ g·(x − mean).
  std::vector<float> sums(rows.pieces() * 2 * c);
  parallel_for(rows.pieces(), [&](int64_t p) {
    for (int64_t first = 0; first < c; first += 16) {
      const V16 center = load_some(mean + first, c - first);
      V16 sum = splat(0.0f), moment = splat(0.0f);
      for (int64_t r = rows.begin(p); r < rows.end(p); ++r) {
        const int64_t at = r * c + first, count = c - first;
        V16 g = load_some(upstream + at, count);
        if (out != nullptr) g = relu_gradient(g, load_some(out + at, count));
        if (d_residual != nullptr) store_some(d_residual + at, g, count);
        sum += g;
        moment += g * (load_some(x + at, count) - center);
      }
      store_some(&sums[2 * p * c + first], sum, c - first);
      store_some(&sums[(2 * p + 1) * c + first], moment, c - first);
    }
  });
  std::vector<double> sum(c, 0.0), moment(c, 0.0);
  for (int64_t p = 0; p < rows.pieces(); ++p)
    for (int64_t k = 0; k < c; ++k) sum[k] += sums[2 * p * c + k], moment[k] += sums[(2 * p + 1) * c + k];
  // d_x = scale·(g − Σg/n − (x − mean)·inverse²·Σg(x − mean)/n) = scale·g + slope·(x − mean) + shift
  std::vector<float> scale(c + 16), slope(c + 16), shift(c + 16), center(c + 16);
  for (int64_t k = 0; k < c; ++k) {
    const double inverse = inverse_deviation[k], gain = inverse * weight[k];
    d_weight[k] = static_cast<float>(moment[k] * inverse), d_bias[k] = static_cast<float>(sum[k]);
    scale[k] = static_cast<float>(gain), center[k] = mean[k];
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
