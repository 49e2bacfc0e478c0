// (1 − λ)·L1 + λ·(1 − SSIM) and its gradient in two sweeps over the picture.
//
// Pictures are [height, width, 3] interleaved: a row is one array of 3·width floats and the window's taps are 3 floats apart, so
// no channel needs to be taken out.  Each band of rows keeps a ring of horizontally blurred rows that fits the second-level cache.
#include <algorithm>
#include <vector>

#include "common.h"

namespace sw {
namespace {

constexpr int kTaps = 11;
constexpr int kReach = kTaps / 2;
constexpr int kBand = 48;  // rows of a chunk; 10 more are blurred at its edges
constexpr float kC1 = 1e-4f, kC2 = 9e-4f;

struct Window {
  float weight[kTaps];
  Window() {
    double w[kTaps], sum = 0;
    for (int k = 0; k < kTaps; ++k) sum += w[k] = std::exp(-(k - kReach) * (k - kReach) / (2 * 1.5 * 1.5));
    for (int k = 0; k < kTaps; ++k) weight[k] = static_cast<float>(w[k] / sum);
  }
};
const Window kWindow;

// Horizontal blur of a row that has at least 15 zeros before and 31 after it.
SW_INLINE void blur_row(const float* padded, float* out, int64_t length) {
  Native w[kReach + 1];
  for (int k = 0; k <= kReach; ++k) w[k] = splat_native(kWindow.weight[k]);
  for (int64_t i = 0; i < length; i += kNativeLanes) {
    const float* center = padded + i;
    Native sum = w[kReach] * load_native(center);
    for (int k = 0; k < kReach; ++k)
      sum += w[k] * (load_native(center - 3 * (kReach - k)) + load_native(center + 3 * (kReach - k)));
    store(out + i, sum);
  }
}
// Rows of a ring added with the window's weights; rows outside the picture are zero.
SW_INLINE Native blur_column(const float* const* rows, int64_t i) {
  Native sum = splat_native(kWindow.weight[kReach]) * load_native(rows[kReach] + i);
  for (int k = 0; k < kReach; ++k)
    sum += splat_native(kWindow.weight[k]) * (load_native(rows[k] + i) + load_native(rows[kTaps - 1 - k] + i));
  return sum;
}

// Memory of a thread, kept between calls: asking the system for it anew costs more than the arithmetic.
std::vector<float>& ring_storage() {
  static thread_local std::vector<float> storage;
  return storage;
}

template <int Fields>
struct Ring {
  int64_t stride;
  float *storage, *padded, *zeros;
  explicit Ring(int64_t length) : stride((length + 31) / 16 * 16) {
    const int64_t rings = Fields * kTaps * stride, sources = Fields * (stride + 64);
    auto& memory = ring_storage();
    if (static_cast<int64_t>(memory.size()) < rings + sources + stride) memory.resize(rings + sources + stride);
    storage = memory.data(), padded = storage + rings, zeros = padded + sources;
    std::memset(padded, 0, (sources + stride) * sizeof(float));  // margins of the source rows, and the row outside the picture
  }
  float* row(int field, int64_t y) { return storage + (field * kTaps + (y + 2 * kTaps) % kTaps) * stride; }
  float* source(int field) { return padded + field * (stride + 64) + 16; }
  void window(int field, int64_t y, int64_t height, const float** rows) {
    for (int k = 0; k < kTaps; ++k) {
      const int64_t from = y + k - kReach;
      rows[k] = from < 0 || from >= height ? zeros : row(field, from);
    }
  }
};

struct Pictures {
  int64_t height, length;  // length: values of a row
  const float *image, *truth;
};

// ∂(Σ SSIM)/∂ of the blurred image, its blurred square and the blurred product; rows are padded to whole vectors.
struct Maps {
  float* storage;
  int64_t height, stride;
  float* row(int map, int64_t y) const { return storage + (map * height + y) * stride; }
};

// Adds |image − truth| of a row to `absolute` and writes the gradient, ±scale.
SW_INLINE void l1_row(const Pictures& p, int64_t y, float scale, double& absolute, float* gradient) {
  const float *x = p.image + y * p.length, *t = p.truth + y * p.length;
  float* g = gradient + y * p.length;
  Native sum = splat_native(0.0f);
  int64_t i = 0;
  for (; i + kNativeLanes <= p.length; i += kNativeLanes) {
    const Native d = load_native(x + i) - load_native(t + i), zero = splat_native(0.0f);
    sum += vabs(d);
    store(g + i, select(d > zero, splat_native(scale), select(d < zero, splat_native(-scale), zero)));
  }
  for (; i < p.length; ++i) {
    const float d = x[i] - t[i];
    absolute += std::fabs(d);
    g[i] = d > 0 ? scale : (d < 0 ? -scale : 0.0f);
  }
  for (int l = 0; l < kNativeLanes; ++l) absolute += sum[l];
}

// Blurs row y of image, truth, their squares and their product into the ring.
SW_INLINE void blur_products(const Pictures& p, int64_t y, Ring<5>& ring) {
  const float *x = p.image + y * p.length, *t = p.truth + y * p.length;
  float* f[5];
  for (int k = 0; k < 5; ++k) f[k] = ring.source(k);
  int64_t i = 0;
  for (; i + kNativeLanes <= p.length; i += kNativeLanes) {
    const Native a = load_native(x + i), b = load_native(t + i);
    store(f[0] + i, a), store(f[1] + i, b);
    store(f[2] + i, a * a), store(f[3] + i, b * b), store(f[4] + i, a * b);
  }
  for (; i < p.length; ++i) {
    f[0][i] = x[i], f[1][i] = t[i];
    f[2][i] = x[i] * x[i], f[3][i] = t[i] * t[i], f[4][i] = x[i] * t[i];
  }
  for (int k = 0; k < 5; ++k) blur_row(f[k], ring.row(k, y), p.length);
}

// Σ SSIM of row y from the ring's rows around it; writes the maps' row.
SW_INLINE double similarity_row(const Pictures& p, int64_t y, Ring<5>& ring, const Maps& maps) {
  const float* rows[5][kTaps];
  for (int k = 0; k < 5; ++k) ring.window(k, y, p.height, rows[k]);
  float *d_mean = maps.row(0, y), *d_square = maps.row(1, y), *d_product = maps.row(2, y);
  Native sum = splat_native(0.0f);
  float tail = 0;
  for (int64_t i = 0; i < p.length; i += kNativeLanes) {
    const Native two = splat_native(2.0f);
    const Native mx = blur_column(rows[0], i), my = blur_column(rows[1], i), xx = blur_column(rows[2], i);
    const Native yy = blur_column(rows[3], i), xy = blur_column(rows[4], i);
    const Native A = two * mx * my + splat_native(kC1), B = two * (xy - mx * my) + splat_native(kC2);
    const Native C = mx * mx + my * my + splat_native(kC1), D = xx - mx * mx + yy - my * my + splat_native(kC2);
    const Native iC = reciprocal(C), iD = reciprocal(D), iCD = iC * iD, S = A * B * iCD;
    if (i + kNativeLanes <= p.length)
      sum += S;
    else
      for (int l = 0; l < p.length - i; ++l) tail += S[l];
    store(d_mean + i, two * (my * (B - A) * iCD + mx * S * (iD - iC)));
    store(d_square + i, -S * iD);
    store(d_product + i, two * A * iCD);
  }
  double row_sum = tail;
  for (int l = 0; l < kNativeLanes; ++l) row_sum += sum[l];
  return row_sum;
}

// Σ SSIM of a band's rows, and their maps.
double similarity_band(const Pictures& p, int64_t begin, int64_t end, const Maps& maps) {
  Ring<5> ring(p.length);
  double similarity = 0;
  for (int64_t next = std::max<int64_t>(0, begin - kReach), y = begin; y < end; ++y) {
    for (; next <= std::min(p.height - 1, y + kReach); ++next) blur_products(p, next, ring);
    similarity += similarity_row(p, y, ring, maps);
  }
  return similarity;
}

// Adds factor·∂(Σ SSIM)/∂image to a band of the gradient: the maps blurred once more, because the window is symmetric.
void add_gradient_band(const Pictures& p, int64_t begin, int64_t end, const Maps& maps, float factor, float* gradient) {
  Ring<3> ring(p.length);
  for (int64_t next = std::max<int64_t>(0, begin - kReach), y = begin; y < end; ++y) {
    for (; next <= std::min(p.height - 1, y + kReach); ++next)
      for (int k = 0; k < 3; ++k) {
        std::memcpy(ring.source(k), maps.row(k, next), p.length * sizeof(float));
        blur_row(ring.source(k), ring.row(k, next), p.length);
      }
    const float* rows[3][kTaps];
    for (int k = 0; k < 3; ++k) ring.window(k, y, p.height, rows[k]);
    const float *x = p.image + y * p.length, *t = p.truth + y * p.length;
    float* g = gradient + y * p.length;
    const Native scale = splat_native(factor), two = splat_native(2.0f);
    for (int64_t i = 0; i < p.length; i += kNativeLanes) {
      const Native mean = blur_column(rows[0], i), square = blur_column(rows[1], i), product = blur_column(rows[2], i);
      if (i + kNativeLanes <= p.length) {
        store(g + i, load_native(g + i) + scale * (mean + two * load_native(x + i) * square + load_native(t + i) * product));
      } else {
        for (int l = 0; l < p.length - i; ++l) g[i + l] += factor * (mean[l] + 2 * x[i + l] * square[l] + t[i + l] * product[l]);
      }
    }
  }
}

}  // namespace
}  // namespace sw

using namespace sw;

// Returns the loss; `gradient` receives ∂loss/∂image.
SW_EXPORT double sw_l1_dssim(int64_t height, int64_t width, const float* image, const float* truth, float weight, float* gradient) {
  const Pictures pictures{height, 3 * width, image, truth};
  const int64_t count = pictures.length * height, bands = (height + kBand - 1) / kBand, stride = (pictures.length + 31) / 16 * 16;
  const float l1_scale = (1 - weight) / count, ssim_scale = -weight / count;
  std::vector<double> l1(bands, 0.0), ssim(bands, 0.0);
  static thread_local std::vector<float> maps_storage;
  if (weight != 0 && static_cast<int64_t>(maps_storage.size()) < 3 * height * stride) maps_storage.resize(3 * height * stride);
  const Maps maps{maps_storage.data(), height, stride};
  parallel_for(bands, [&](int64_t band) {
    const int64_t begin = band * kBand, end = std::min(height, begin + kBand);
    double absolute = 0;
    for (int64_t y = begin; y < end; ++y) l1_row(pictures, y, l1_scale, absolute, gradient);
    l1[band] = absolute;
    if (weight != 0) ssim[band] = similarity_band(pictures, begin, end, maps);
  });
  if (weight != 0)
    parallel_for(bands, [&](int64_t band) {
      add_gradient_band(pictures, band * kBand, std::min(height, (band + 1) * kBand), maps, ssim_scale, gradient);
    });
  double l1_sum = 0, ssim_sum = 0;
  for (int64_t band = 0; band < bands; ++band) l1_sum += l1[band], ssim_sum += ssim[band];
  const double loss = (1 - static_cast<double>(weight)) * l1_sum / count;
  return weight == 0 ? loss : loss + weight * (1 - ssim_sum / count);
}
