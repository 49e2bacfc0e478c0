// Gaussian splatting on the CPU: projection, binning, rasterisation and their gradients.
//
// How it is organised, and why it is fast:
//   * A picture is cut into 16×16 tiles and each tile into sixteen 4×4 blocks; one block is one V16.
//   * Binning records for every (tile, Gaussian) pair which blocks its ellipse really touches (exact ellipse–row intersection,
//     cut where α < 1/255), so small Gaussians do not pay for lanes they cannot reach.
//   * A block walks its own front-to-back list with all its state in registers.
//   * The backward pass is also front to back: with S = Σ_{j>i} wⱼ·(∂L/∂wⱼ) carried as one running value per pixel, nothing has to
//     be stored by the forward pass except how far each block got.
//   * The ten moments that a Gaussian collects from a block are one small matrix product (16 pixels × 16 columns), accumulated
//     per (tile, Gaussian) pair.  Pairs of one Gaussian are contiguous and added in a fixed order: no atomics, and gradients do
//     not depend on the number of threads.
// Sources: Kerbl et al. 2023 (arXiv 2308.04079) for the method; constants are those of kernels/splats/constants.py.
#include <algorithm>
#include <ctime>
#include <vector>

#include "common.h"

namespace sw {
namespace {

constexpr float kAlphaMax = 0.99f;
constexpr float kAlphaMin = 1.0f / 255.0f;
constexpr float kTransmittanceMin = 1e-4f;
constexpr float kDilation = 0.3f;
constexpr float kFrustumMargin = 0.3f;
constexpr float kScaleMaxLog = 30.0f;
constexpr float kMeanMax = 1e15f;
constexpr float kHuge = 3e38f;  // near the largest float
constexpr float kLog2E = 1.4426950408889634f;
constexpr float kLn2 = 0.6931471805599453f;
constexpr float kLog2AlphaMin = -7.994353436858858f;

constexpr int kTile = 16;
constexpr int kBlocks = 16;        // 4×4-pixel blocks of a tile
constexpr int kLine = 16;          // floats per projected Gaussian: one cache line
constexpr int kMaxExtra = 16;      // extra channels of one pass
constexpr int kGaussianGrain = 1024;  // Gaussians per chunk of projection work
constexpr int kBinGrain = 2048;    // depth-sorted Gaussians per chunk of binning work
constexpr uint32_t kAhead = 24;    // cache lines asked for before they are needed
constexpr int kBatch = 8;          // Gaussians that a block takes in one go
constexpr int kTogether = 8 / kParts;  // Gaussians whose moments are summed together: as many as registers hold

// Fields of a projected Gaussian.  α = 2^(A·dx² + B·dx·dy + C·dy² + L) with d = pixel − mean.  kSigns has a bit for each colour
// that was positive before it was clamped: the backward pass needs them.
enum Field { kX, kY, kA, kB, kC, kL, kRed, kGreen, kBlue, kDepth, kOpacity, kExtentX, kExtentY, kSigns };

}  // namespace

// Mirrors kernels/splats/native.py.  All arrays are float32 and contiguous; nullable ones say so.
struct SplatScene {
  int64_t n;
  const float *means, *quats, *scales, *opacities, *sh0, *shN;
  const float* extra;  // [n, channels] or null
  int32_t sh_rest, sh_degree, channels, stored;
  float rotation[9], translation[3], fx, fy, cx, cy, near;
  int32_t width, height;
  float background[3];
};
struct SplatPicture {
  float *color, *depth, *alpha, *extra;  // extra nullable
  float* radii;
  float* weight_sum;  // these three null unless contributions are wanted
  int64_t *pixel_count, *argmax_count;
};
struct SplatGradients {
  const float *color, *depth, *alpha, *extra;  // upstream; depth, alpha and extra nullable
  float *means, *quats, *scales, *opacities, *sh0, *shN, *extra_in;
  float* screen;  // [n, screen_columns] or null
  int32_t screen_columns;
  double* pose;  // [12]: rotation then translation, or null
};

namespace {

struct Pair {
  uint32_t slot, place, blocks;  // visible Gaussian, position among pairs ordered by Gaussian, bit mask of blocks
};
struct Emitted {
  uint32_t tile, slot, blocks;
};

struct Context {
  int64_t n = 0;
  int64_t visible = 0;
  int tiles_x = 0, tiles_y = 0;
  std::vector<float> line_storage;
  float* lines = nullptr;                  // [visible, kLine], 64-byte aligned
  std::vector<int32_t> id;                 // Gaussian of each slot, ascending
  std::vector<int32_t> chunk_slot;         // first slot of each chunk of kGaussianGrain Gaussians
  std::vector<uint32_t> keys, keys2, order, order2;
  std::vector<uint32_t> first_pair, pair_count;  // per slot
  std::vector<uint32_t> tile_offset;
  std::vector<Pair> pairs;
  std::vector<uint32_t> reached;           // list entries each block of each tile processed
  std::vector<float> pair_storage;
  float* pair_gradients = nullptr;         // [pairs, kLine (+ kLine for extra channels)]
  std::vector<std::vector<Emitted>> emitted;
  std::vector<uint32_t> chunk_tile;        // [chunk, tile] counts, then write positions
  std::vector<double> pose_partial;
};

float* aligned(std::vector<float>& storage, size_t count) {
  if (storage.size() < count + 16) storage.resize(count + count / 4 + 16);
  return reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(storage.data()) + 63) & ~uintptr_t(63));
}

SW_INLINE V16 clamp(V16 x, V16 low, V16 high) { return vmin(vmax(x, low), high); }
SW_INLINE V16 expv(V16 x) { return exp2_fast(clamp(x * splat(kLog2E), splat(-125.0f), splat(125.0f))); }

// 2^x for x in [−9, 0]; relative error 3e-6.  Other arguments give garbage that the caller masks.
SW_INLINE Native exp2_raster(Native x) {
  Native shifted = x + splat_native(12582912.0f);
  Native f = x - (shifted - splat_native(12582912.0f));
  Native p = splat_native(9.567738439527e-03f);
  p = p * f + splat_native(5.591749823722e-02f);
  p = p * f + splat_native(2.402481071025e-01f);
  p = p * f + splat_native(6.931219383914e-01f);
  p = p * f + splat_native(9.999992499791e-01f);
  return as_float(as_int(p) + (as_int(shifted) << 23));
}
SW_INLINE V16 finite_mask_of(V16 v, V16 bound) { return select(vabs(v) <= bound, splat(1.0f), splat(0.0f)); }

// ---------------------------------------------------------------------------------------------------------------- projection

struct Lens {
  float R[9], t[3], fx, fy, cx, cy, near, low_x, high_x, low_y, high_y;
  float center[3];  // of the camera, in the world
  explicit Lens(const SplatScene& s) {
    std::memcpy(R, s.rotation, sizeof R);
    std::memcpy(t, s.translation, sizeof t);
    fx = s.fx, fy = s.fy, cx = s.cx, cy = s.cy, near = s.near;
    const float mx = kFrustumMargin * 0.5f * s.width / fx, my = kFrustumMargin * 0.5f * s.height / fy;
    low_x = -cx / fx - mx, high_x = (s.width - cx) / fx + mx;
    low_y = -cy / fy - my, high_y = (s.height - cy) / fy + my;
    for (int k = 0; k < 3; ++k) center[k] = -(R[k] * t[0] + R[3 + k] * t[1] + R[6 + k] * t[2]);
  }
};

// Sixteen Gaussians on their way to the image plane; the backward pass recomputes them instead of storing them.
struct Projection {
  V16 x, y, z, iz, slope_x, slope_y, clamped_x, clamped_y;  // camera frame, x/z, y/z
  V16 w, qx, qy, qz, inverse_norm;
  V16 Q[9], s[3], H[9];  // rotation, scales, H = Q·diag(s)
  V16 V[6], U[6];        // V = J·R, U = V·H
  V16 c00, c01, c11;     // Σ′

  SW_INLINE void run(const Lens& l, const V16 m[3], const V16 q[4], const V16 scale[3]) {
    x = splat(l.R[0]) * m[0] + splat(l.R[1]) * m[1] + splat(l.R[2]) * m[2] + splat(l.t[0]);
    y = splat(l.R[3]) * m[0] + splat(l.R[4]) * m[1] + splat(l.R[5]) * m[2] + splat(l.t[1]);
    z = splat(l.R[6]) * m[0] + splat(l.R[7]) * m[1] + splat(l.R[8]) * m[2] + splat(l.t[2]);
    iz = splat(1.0f) / select(z > splat(l.near), z, splat(1.0f));
    slope_x = x * iz, slope_y = y * iz;
    clamped_x = clamp(slope_x, splat(l.low_x), splat(l.high_x));
    clamped_y = clamp(slope_y, splat(l.low_y), splat(l.high_y));
    inverse_norm = splat(1.0f) / vsqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]);
    w = q[0] * inverse_norm, qx = q[1] * inverse_norm, qy = q[2] * inverse_norm, qz = q[3] * inverse_norm;
    const V16 one = splat(1.0f), two = splat(2.0f);
    Q[0] = one - two * (qy * qy + qz * qz), Q[1] = two * (qx * qy - w * qz), Q[2] = two * (qx * qz + w * qy);
    Q[3] = two * (qx * qy + w * qz), Q[4] = one - two * (qx * qx + qz * qz), Q[5] = two * (qy * qz - w * qx);
    Q[6] = two * (qx * qz - w * qy), Q[7] = two * (qy * qz + w * qx), Q[8] = one - two * (qx * qx + qy * qy);
    for (int k = 0; k < 3; ++k) s[k] = scale[k];
    for (int k = 0; k < 9; ++k) H[k] = Q[k] * s[k % 3];
    const V16 jx = splat(l.fx) * iz, jxz = -jx * clamped_x, jy = splat(l.fy) * iz, jyz = -jy * clamped_y;
    for (int k = 0; k < 3; ++k) {
      V[k] = jx * splat(l.R[k]) + jxz * splat(l.R[6 + k]);
      V[3 + k] = jy * splat(l.R[3 + k]) + jyz * splat(l.R[6 + k]);
    }
    for (int k = 0; k < 3; ++k) {
      U[k] = V[0] * H[k] + V[1] * H[3 + k] + V[2] * H[6 + k];
      U[3 + k] = V[3] * H[k] + V[4] * H[3 + k] + V[5] * H[6 + k];
    }
    c00 = U[0] * U[0] + U[1] * U[1] + U[2] * U[2] + splat(kDilation);
    c01 = U[0] * U[3] + U[1] * U[4] + U[2] * U[5];
    c11 = U[3] * U[3] + U[4] * U[4] + U[5] * U[5] + splat(kDilation);
  }
};

// Rows `rows[lane]` of an [n, columns] array, transposed into one vector per column.
template <int Columns>
SW_INLINE void gather(const float* array, const int32_t* rows, int lanes, V16* out) {
  alignas(64) float columns[Columns][16];
  for (int lane = 0; lane < 16; ++lane) {
    const float* row = array + static_cast<int64_t>(rows[lane < lanes ? lane : 0]) * Columns;
    for (int c = 0; c < Columns; ++c) columns[c][lane] = row[c];
  }
  for (int c = 0; c < Columns; ++c) out[c] = load(columns[c]);
}

struct Inputs {
  V16 mean[3], quat[4], scale[3], opacity;
  SW_INLINE void read(const SplatScene& s, const int32_t* rows, int lanes) {
    gather<3>(s.means, rows, lanes, mean);
    gather<4>(s.quats, rows, lanes, quat);
    gather<3>(s.scales, rows, lanes, scale);
    gather<1>(s.opacities, rows, lanes, &opacity);
  }
};

// Harmonics above the constant one.
SW_INLINE int higher_harmonics(int degree) { return (degree + 1) * (degree + 1) - 1; }

// Values of the basis in the (unit) direction (x, y, z).
SW_INLINE void sh_basis(int degree, V16 x, V16 y, V16 z, V16* basis) {
  basis[0] = splat(0.28209479177387814f);
  if (degree < 1) return;
  const V16 c1 = splat(0.4886025119029199f);
  basis[1] = -c1 * y, basis[2] = c1 * z, basis[3] = -c1 * x;
  if (degree < 2) return;
  const V16 xx = x * x, yy = y * y, zz = z * z;
  basis[4] = splat(1.0925484305920792f) * x * y;
  basis[5] = splat(-1.0925484305920792f) * y * z;
  basis[6] = splat(0.31539156525252005f) * (zz + zz - xx - yy);
  basis[7] = splat(-1.0925484305920792f) * x * z;
  basis[8] = splat(0.5462742152960396f) * (xx - yy);
  if (degree < 3) return;
  const V16 three = splat(3.0f), four = splat(4.0f);
  basis[9] = splat(-0.5900435899266435f) * y * (three * xx - yy);
  basis[10] = splat(2.890611442640554f) * x * y * z;
  basis[11] = splat(-0.4570457994644658f) * y * (four * zz - xx - yy);
  basis[12] = splat(0.3731763325901154f) * z * (zz + zz - three * xx - three * yy);
  basis[13] = splat(-0.4570457994644658f) * x * (four * zz - xx - yy);
  basis[14] = splat(1.445305721320277f) * z * (xx - yy);
  basis[15] = splat(-0.5900435899266435f) * x * (xx - three * yy);
}
// Σₖ g[k]·∂basis[k]/∂(x, y, z)
SW_INLINE void sh_basis_gradient(int degree, V16 x, V16 y, V16 z, const V16* g, V16* out) {
  const V16 zero = splat(0.0f);
  out[0] = out[1] = out[2] = zero;
  if (degree < 1) return;
  const V16 c1 = splat(0.4886025119029199f);
  out[0] -= c1 * g[3], out[1] -= c1 * g[1], out[2] += c1 * g[2];
  if (degree < 2) return;
  const V16 two = splat(2.0f);
  const V16 g4 = splat(1.0925484305920792f) * g[4], g5 = splat(-1.0925484305920792f) * g[5];
  const V16 g6 = splat(0.31539156525252005f) * two * g[6], g7 = splat(-1.0925484305920792f) * g[7];
  const V16 g8 = splat(0.5462742152960396f) * two * g[8];
  out[0] += g4 * y - g6 * x + g7 * z + g8 * x;
  out[1] += g4 * x + g5 * z - g6 * y - g8 * y;
  out[2] += g5 * y + two * g6 * z + g7 * x;
  if (degree < 3) return;
  const V16 xx = x * x, yy = y * y, zz = z * z, xy = x * y, xz = x * z, yz = y * z;
  const V16 three = splat(3.0f), four = splat(4.0f), six = splat(6.0f), eight = splat(8.0f);
  const V16 g9 = splat(-0.5900435899266435f) * g[9], g10 = splat(2.890611442640554f) * g[10];
  const V16 g11 = splat(-0.4570457994644658f) * g[11], g12 = splat(0.3731763325901154f) * g[12];
  const V16 g13 = splat(-0.4570457994644658f) * g[13], g14 = splat(1.445305721320277f) * g[14];
  const V16 g15 = splat(-0.5900435899266435f) * g[15];
  out[0] += g9 * six * xy + g10 * yz - g11 * two * xy - g12 * six * xz + g13 * (four * zz - three * xx - yy) + g14 * two * xz +
            g15 * three * (xx - yy);
  out[1] += g9 * three * (xx - yy) + g10 * xz + g11 * (four * zz - xx - three * yy) - g12 * six * yz - g13 * two * xy -
            g14 * two * yz - g15 * six * xy;
  out[2] += g10 * xy + g11 * eight * yz + g12 * (six * zz - three * xx - three * yy) + g13 * eight * xz + g14 * (xx - yy);
}

struct Direction {
  V16 x, y, z, inverse_length;
  SW_INLINE Direction(const V16 mean[3], const float* center) {
    x = mean[0] - splat(center[0]), y = mean[1] - splat(center[1]), z = mean[2] - splat(center[2]);
    inverse_length = splat(1.0f) / vmax(vsqrt(x * x + y * y + z * z), splat(1e-12f));
    x *= inverse_length, y *= inverse_length, z *= inverse_length;
  }
};

// Sixteen Gaussians with the scales and opacity that formulas take.  `usable` is 0 where numbers are not finite or so large that
// arithmetic would overflow, else 1.
struct Activated {
  V16 usable, scale[3], opacity;
  SW_INLINE Activated(const SplatScene& s, const Inputs& in) {
    const V16 one = splat(1.0f), zero = splat(0.0f), huge = splat(kHuge);
    usable = one;
    for (int k = 0; k < 3; ++k) usable *= finite_mask_of(in.mean[k], splat(kMeanMax));
    for (int k = 0; k < 4; ++k) usable *= finite_mask_of(in.quat[k], splat(1e18f));
    const V16 norm2 = in.quat[0] * in.quat[0] + in.quat[1] * in.quat[1] + in.quat[2] * in.quat[2] + in.quat[3] * in.quat[3];
    usable = select(norm2 > splat(1e-30f), usable, zero);
    if (s.stored) {
      for (int k = 0; k < 3; ++k) {
        usable *= finite_mask_of(in.scale[k], splat(kScaleMaxLog));
        scale[k] = expv(in.scale[k]);
      }
      usable *= finite_mask_of(in.opacity, huge);
      opacity = one / (one + expv(-in.opacity));
    } else {
      for (int k = 0; k < 3; ++k) {
        usable *= finite_mask_of(in.scale[k], splat(1e13f));
        scale[k] = in.scale[k];
      }
      usable *= finite_mask_of(in.opacity, huge);
      opacity = in.opacity;
    }
  }
};

// The ellipses {α ≥ 1/255} of sixteen Gaussians: centres and half extents in pixels, and which of them the picture shows.
struct Footprint {
  V16 u, v, extent_x, extent_y, log2_opacity, determinant;
  I16 visible;
  SW_INLINE Footprint(const SplatScene& s, const Lens& lens, const Activated& a, const Projection& p) {
    const V16 zero = splat(0.0f), huge = splat(kHuge);
    log2_opacity = log2_fast(vmax(a.opacity, splat(1e-30f)));
    determinant = p.c00 * p.c11 - p.c01 * p.c01;
    const V16 cutoff = splat(2.0f * kLn2) * (log2_opacity - splat(kLog2AlphaMin));
    u = splat(lens.fx) * p.slope_x + splat(lens.cx), v = splat(lens.fy) * p.slope_y + splat(lens.cy);
    extent_x = vsqrt(vmax(cutoff, zero) * p.c00), extent_y = vsqrt(vmax(cutoff, zero) * p.c11);
    visible = (a.usable > zero) & (p.z > splat(lens.near)) & (determinant > splat(1e-10f)) & (cutoff > zero) &
              (extent_x < splat(1e9f)) & (extent_y < splat(1e9f)) & (determinant < huge) & (u + extent_x > zero) &
              (u - extent_x < splat(static_cast<float>(s.width))) & (v + extent_y > zero) &
              (v - extent_y < splat(static_cast<float>(s.height)));
  }
};

// Writes the fields that come as vectors to table[field][lane]; colours are added up lane by lane.
SW_INLINE void store_fields(const Projection& p, const Footprint& f, V16 opacity, float (&table)[kSigns][16]) {
  const V16 inverse = splat(1.0f) / f.determinant;
  store(table[kX], f.u), store(table[kY], f.v);
  store(table[kA], splat(-0.5f * kLog2E) * p.c11 * inverse);
  store(table[kB], splat(kLog2E) * p.c01 * inverse);
  store(table[kC], splat(-0.5f * kLog2E) * p.c00 * inverse);
  store(table[kL], f.log2_opacity);
  store(table[kDepth], p.z), store(table[kOpacity], opacity);
  store(table[kExtentX], f.extent_x), store(table[kExtentY], f.extent_y);
}

// Colour of one Gaussian before it is clamped at 0, with column `lane` of the basis; false where it is not finite.  The basis is an
// array and not a pointer because its size lets the compiler unroll the loop over harmonics.
SW_INLINE bool unclamped_color(
    const SplatScene& s, int64_t gaussian, const float (&basis)[16][16], int lane, float (&rgb)[3]) {
  const int rest = higher_harmonics(s.sh_degree);
  const float* sh0 = s.sh0 + gaussian * 3;
  const float* shN = s.shN + gaussian * 3 * s.sh_rest;
  for (int k = 0; k < 3; ++k) rgb[k] = 0.5f + basis[0][lane] * sh0[k];
  for (int j = 0; j < rest; ++j)
    for (int k = 0; k < 3; ++k) rgb[k] += basis[j + 1][lane] * shN[j * 3 + k];
  return std::fabs(rgb[0]) < 1e30f && std::fabs(rgb[1]) < 1e30f && std::fabs(rgb[2]) < 1e30f;
}

// Projects Gaussians first … first + lanes − 1, writes a line for each that is drawn from `slot` on and returns the next free slot.
SW_INLINE int64_t project_sixteen(
    const SplatScene& s, Context& c, const Lens& lens, int64_t first, int lanes, int64_t slot, float* radii) {
  int32_t rows[16];
  for (int i = 0; i < 16; ++i) rows[i] = static_cast<int32_t>(first + std::min(i, lanes - 1));
  Inputs in;
  in.read(s, rows, 16);
  const Activated activated(s, in);
  Projection p;
  p.run(lens, in.mean, in.quat, activated.scale);
  const Footprint footprint(s, lens, activated, p);
  alignas(64) float table[kSigns][16], basis_table[16][16];
  store_fields(p, footprint, activated.opacity, table);
  const Direction d(in.mean, lens.center);
  V16 basis[16];
  sh_basis(s.sh_degree, d.x, d.y, d.z, basis);
  for (int k = 0; k <= higher_harmonics(s.sh_degree); ++k) store(basis_table[k], basis[k]);
  for (int lane = 0; lane < lanes; ++lane) {
    const int64_t gaussian = first + lane;
    float rgb[3];
    const bool drawn = footprint.visible[lane] != 0 && unclamped_color(s, gaussian, basis_table, lane, rgb);
    radii[gaussian] = drawn ? std::max(table[kExtentX][lane], table[kExtentY][lane]) : 0.0f;
    if (!drawn) continue;
    float* line = c.lines + slot * kLine;
    for (int k = 0; k < kSigns; ++k) line[k] = table[k][lane];
    for (int k = 0; k < 3; ++k) line[kRed + k] = std::max(rgb[k], 0.0f);
    line[kSigns] = static_cast<float>((rgb[0] > 0) | (rgb[1] > 0) << 1 | (rgb[2] > 0) << 2);
    c.id[slot] = static_cast<int32_t>(gaussian);
    ++slot;
  }
  return slot;
}

// Moves the lines of all chunks together; `chunk_slot` has each chunk's number of lines after its place and gets the first slots.
void close_gaps(Context& c, int64_t chunks) {
  for (int64_t chunk = 0; chunk < chunks; ++chunk) c.chunk_slot[chunk + 1] += c.chunk_slot[chunk];
  c.visible = c.chunk_slot[chunks];
  for (int64_t chunk = 1; chunk < chunks; ++chunk) {  // source and target ascend, so moving forward is safe
    const int64_t count = c.chunk_slot[chunk + 1] - c.chunk_slot[chunk], from = chunk * kGaussianGrain, to = c.chunk_slot[chunk];
    if (from == to || count == 0) continue;
    std::memmove(c.lines + to * kLine, c.lines + from * kLine, count * kLine * sizeof(float));
    std::memmove(c.id.data() + to, c.id.data() + from, count * sizeof(int32_t));
  }
}

void project(const SplatScene& s, Context& c, const SplatPicture& out) {
  const Lens lens(s);
  const int64_t chunks = (s.n + kGaussianGrain - 1) / kGaussianGrain;
  c.lines = aligned(c.line_storage, static_cast<size_t>(s.n) * kLine);
  c.id.resize(s.n);
  c.chunk_slot.assign(chunks + 1, 0);
  parallel_for(chunks, [&](int64_t chunk) {
    const int64_t begin = chunk * kGaussianGrain, end = std::min<int64_t>(s.n, begin + kGaussianGrain);
    int64_t slot = begin;  // compacted inside the chunk first, across chunks below
    for (int64_t first = begin; first < end; first += 16) {
      const int lanes = static_cast<int>(std::min<int64_t>(16, end - first));
      slot = project_sixteen(s, c, lens, first, lanes, slot, out.radii);
    }
    c.chunk_slot[chunk + 1] = static_cast<int32_t>(slot - begin);
  });
  close_gaps(c, chunks);
}

// ------------------------------------------------------------------------------------------------------------------- binning

// Slots by ascending depth; equal depths keep their order.  Depths are positive, so their bits sort like integers.
void sort_by_depth(Context& c) {
  const int64_t n = c.visible;
  c.keys.resize(n), c.keys2.resize(n), c.order.resize(n), c.order2.resize(n);
  static constexpr int kDigit = 2048;
  std::vector<uint32_t> histogram(3 * kDigit, 0);
  for (int64_t i = 0; i < n; ++i) {
    uint32_t key;
    std::memcpy(&key, &c.lines[i * kLine + kDepth], 4);
    c.keys[i] = key;
    c.order[i] = static_cast<uint32_t>(i);
    ++histogram[key & 2047], ++histogram[kDigit + ((key >> 11) & 2047)], ++histogram[2 * kDigit + (key >> 22)];
  }
  for (int pass = 0; pass < 3; ++pass) {
    uint32_t* h = histogram.data() + pass * kDigit;
    uint32_t sum = 0;
    bool one_bucket = false;
    for (int d = 0; d < kDigit; ++d) {
      one_bucket |= h[d] == static_cast<uint32_t>(n);
      const uint32_t count = h[d];
      h[d] = sum;
      sum += count;
    }
    if (one_bucket) continue;
    const int shift = 11 * pass;
    for (int64_t i = 0; i < n; ++i) {
      const uint32_t to = h[(c.keys[i] >> shift) & 2047]++;
      c.keys2[to] = c.keys[i];
      c.order2[to] = c.order[i];
    }
    c.keys.swap(c.keys2);
    c.order.swap(c.order2);
  }
}

typedef float V4 __attribute__((vector_size(16)));
typedef int32_t I4 __attribute__((vector_size(16)));
SW_INLINE V4 splat4(float x) { return V4{x, x, x, x}; }
SW_INLINE I4 splat4i(int32_t x) { return I4{x, x, x, x}; }

// Calls emit(tile, block mask) for every tile whose blocks the ellipse {α ≥ 1/255} touches.
template <class F>
SW_INLINE void for_each_tile(const float* line, int tiles_x, int tiles_y, F&& emit) {
  const float mx = line[kX], my = line[kY], rx = line[kExtentX], ry = line[kExtentY];
  const float a = line[kA] * (-2.0f * kLn2), b = line[kB] * (-kLn2), c = line[kC] * (-2.0f * kLn2);  // Σ′⁻¹ = [[a, b], [b, c]]
  const float determinant = a * c - b * b;
  const float cutoff = ry * ry * determinant / a;  // dᵀΣ′⁻¹d ≤ cutoff; ry² = cutoff·c/determinant… with Σ′₁₁ = a/determinant
  const float inverse_a = 1.0f / a;
  const float y_at_right = -(b / c) * rx;  // dy at the ellipse's rightmost point
  const int blocks_x = tiles_x * 4, blocks_y = tiles_y * 4;
  // Block row r covers pixel centres 4r + ½ … 4r + 3½.
  const int row0 = std::max(0, static_cast<int>(std::ceil((my - ry - 3.5f) * 0.25f)));
  const int row1 = std::min(blocks_y - 1, static_cast<int>(std::floor((my + ry - 0.5f) * 0.25f)));
  for (int base = row0 & ~3; base <= row1; base += 4) {  // the four block rows of a tile row at once
    const V4 lane = {0, 1, 2, 3}, zero = splat4(0.0f);
    V4 top = splat4(4.0f * base + 0.5f - my) + splat4(4.0f) * lane;
    V4 bottom = top + splat4(3.0f);
    top = top > splat4(-ry) ? top : splat4(-ry);
    bottom = bottom < splat4(ry) ? bottom : splat4(ry);
    V4 s0 = splat4(a * cutoff) - splat4(determinant) * top * top, s1 = splat4(a * cutoff) - splat4(determinant) * bottom * bottom;
    s0 = s0 > zero ? s0 : zero, s1 = s1 > zero ? s1 : zero;
    for (int r = 0; r < 4; ++r) s0[r] = __builtin_sqrtf(s0[r]), s1[r] = __builtin_sqrtf(s1[r]);
    const V4 at_top = splat4(-b) * top, at_bottom = splat4(-b) * bottom;
    V4 right = at_top + s0 > at_bottom + s1 ? at_top + s0 : at_bottom + s1;
    V4 left = at_top - s0 < at_bottom - s1 ? at_top - s0 : at_bottom - s1;
    right = ((top <= splat4(y_at_right)) & (splat4(y_at_right) <= bottom)) ? splat4(rx) : right * splat4(inverse_a);
    left = ((top <= splat4(-y_at_right)) & (splat4(-y_at_right) <= bottom)) ? splat4(-rx) : left * splat4(inverse_a);
    // A hair of slack (1/64 px) absorbs rounding: a block too many costs time, a block too few an error.
    V4 first = (splat4(mx - 3.5f - 0.015625f) + left) * splat4(0.25f), last = (splat4(mx - 0.5f + 0.015625f) + right) * splat4(0.25f);
    const V4 end = splat4(static_cast<float>(blocks_x));
    first = first > splat4(-1.0f) ? first : splat4(-1.0f), last = last < end - splat4(1.0f) ? last : end - splat4(1.0f);
    first = first < end ? first : end, last = last > splat4(-2.0f) ? last : splat4(-2.0f);
    // ceil and floor by truncation of positive numbers
    I4 low = __builtin_convertvector(first + splat4(0.99999994f + 2.0f), I4) - splat4i(2);
    I4 high = __builtin_convertvector(last + splat4(3.0f), I4) - splat4i(3);
    low = low > splat4i(0) ? low : splat4i(0);
    const I4 row = splat4i(base) + I4{0, 1, 2, 3};
    const I4 used = (row >= splat4i(row0)) & (row <= splat4i(row1)) & (low <= high);
    low = used ? low : splat4i(1 << 24), high = used ? high : splat4i(-1);
    const int least = std::min(std::min(low[0], low[1]), std::min(low[2], low[3]));
    const int most = std::max(std::max(high[0], high[1]), std::max(high[2], high[3]));
    for (int tx = least >> 2; tx <= most >> 2; ++tx) {
      const I4 four = splat4i(4 * tx), three = splat4i(3);
      I4 from = low - four, to = high - four;
      from = from > splat4i(0) ? from : splat4i(0), to = to < three ? to : three;
      const I4 bits = (from <= to) & ((splat4i(2) << (to & three)) - (splat4i(1) << (from & three)));
      const uint32_t mask = static_cast<uint32_t>(bits[0] | bits[1] << 4 | bits[2] << 8 | bits[3] << 12);
      if (mask) emit(static_cast<uint32_t>((base >> 2) * tiles_x + tx), mask);
    }
  }
}

void bin(const SplatScene& s, Context& c) {
  c.tiles_x = (s.width + kTile - 1) / kTile, c.tiles_y = (s.height + kTile - 1) / kTile;
  const int64_t tiles = static_cast<int64_t>(c.tiles_x) * c.tiles_y;
  sort_by_depth(c);
  const int64_t chunks = (c.visible + kBinGrain - 1) / kBinGrain;
  if (static_cast<int64_t>(c.emitted.size()) < chunks) c.emitted.resize(chunks);
  c.chunk_tile.assign(chunks * tiles, 0);
  c.first_pair.resize(c.visible), c.pair_count.resize(c.visible);
  std::vector<uint32_t> chunk_pairs(chunks + 1, 0);
  parallel_for(chunks, [&](int64_t chunk) {
    auto& emitted = c.emitted[chunk];
    emitted.clear();
    uint32_t* counts = c.chunk_tile.data() + chunk * tiles;
    const int64_t begin = chunk * kBinGrain, end = std::min<int64_t>(c.visible, begin + kBinGrain);
    for (int64_t i = begin; i < end; ++i) {
      const uint32_t slot = c.order[i];
      // Depth order visits memory at random; asking early hides half of this loop's time.
      if (i + kAhead < end) __builtin_prefetch(c.lines + static_cast<int64_t>(c.order[i + kAhead]) * kLine);
      const size_t before = emitted.size();
      for_each_tile(c.lines + static_cast<int64_t>(slot) * kLine, c.tiles_x, c.tiles_y, [&](uint32_t tile, uint32_t mask) {
        emitted.push_back({tile, slot, mask});
        ++counts[tile];
      });
      c.first_pair[slot] = static_cast<uint32_t>(before);
      c.pair_count[slot] = static_cast<uint32_t>(emitted.size() - before);
    }
    chunk_pairs[chunk + 1] = static_cast<uint32_t>(emitted.size());
  });
  for (int64_t chunk = 0; chunk < chunks; ++chunk) chunk_pairs[chunk + 1] += chunk_pairs[chunk];
  c.tile_offset.resize(tiles + 1);
  uint32_t sum = 0;
  for (int64_t tile = 0; tile < tiles; ++tile) {
    c.tile_offset[tile] = sum;
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      const uint32_t count = c.chunk_tile[chunk * tiles + tile];
      c.chunk_tile[chunk * tiles + tile] = sum;
      sum += count;
    }
  }
  c.tile_offset[tiles] = sum;
  if (c.pairs.size() < sum) c.pairs.resize(sum + sum / 4);
  parallel_for(chunks, [&](int64_t chunk) {
    uint32_t* position = c.chunk_tile.data() + chunk * tiles;
    uint32_t place = chunk_pairs[chunk];
    for (const Emitted& e : c.emitted[chunk]) c.pairs[position[e.tile]++] = {e.slot, place++, e.blocks};
    const int64_t begin = chunk * kBinGrain, end = std::min<int64_t>(c.visible, begin + kBinGrain);
    for (int64_t i = begin; i < end; ++i) c.first_pair[c.order[i]] += chunk_pairs[chunk];
  });
}

// ------------------------------------------------------------------------------------------------------------- rasterisation

// Scratch of the thread that works on a tile.
struct TileScratch {
  std::vector<float> line_storage, gradient_storage, extra_storage, extra_gradient_storage, contribution_storage;
  std::vector<uint32_t> lists;
  float *lines = nullptr, *gradients = nullptr;
  uint32_t counts[kBlocks];
  const uint32_t* list[kBlocks];

  // Copies the tile's Gaussians side by side, centres relative to the tile, and builds the list of each block.
  void gather_tile(const Context& c, int64_t tile) {
    const uint32_t begin = c.tile_offset[tile], count = c.tile_offset[tile + 1] - begin;
    const float left = static_cast<float>(tile % c.tiles_x * kTile), top = static_cast<float>(tile / c.tiles_x * kTile);
    lines = aligned(line_storage, static_cast<size_t>(count) * kLine);
    if (lists.size() < static_cast<size_t>(count) * kBlocks) lists.resize(static_cast<size_t>(count) * kBlocks * 5 / 4);
    uint32_t* writable[kBlocks];
    for (int b = 0; b < kBlocks; ++b) {
      writable[b] = lists.data() + static_cast<size_t>(b) * count;
      list[b] = writable[b];
    }
    const auto fetch = [&](uint32_t j) { __builtin_prefetch(c.lines + static_cast<int64_t>(c.pairs[begin + j].slot) * kLine); };
    for (uint32_t j = 0; j < std::min(count, kAhead); ++j) fetch(j);
    for (uint32_t j = 0; j < count; ++j) {
      const Pair& pair = c.pairs[begin + j];
      if (j + kAhead < count) fetch(j + kAhead);
      float* line = lines + static_cast<size_t>(j) * kLine;
      store(line, load(c.lines + static_cast<int64_t>(pair.slot) * kLine));
      line[kX] -= left, line[kY] -= top;
      for (uint32_t bits = pair.blocks; bits; bits &= bits - 1) *writable[__builtin_ctz(bits)]++ = j;
    }
    for (int b = 0; b < kBlocks; ++b) counts[b] = static_cast<uint32_t>(writable[b] - list[b]);
  }
};

TileScratch& scratch() {
  static thread_local TileScratch s;
  return s;
}

// The rasteriser's inner loops take one register of a block's pixels at a time (all of them on AVX-512): a whole block's state does
// not fit sixteen smaller registers.
alignas(64) constexpr float kPixelX[16] = {
    .5f, 1.5f, 2.5f, 3.5f, .5f, 1.5f, 2.5f, 3.5f, .5f, 1.5f, 2.5f, 3.5f, .5f, 1.5f, 2.5f, 3.5f};
alignas(64) constexpr float kPixelY[16] = {
    .5f, .5f, .5f, .5f, 1.5f, 1.5f, 1.5f, 1.5f, 2.5f, 2.5f, 2.5f, 2.5f, 3.5f, 3.5f, 3.5f, 3.5f};

// Pixel centres of a part of a block, relative to its tile.
SW_INLINE Native block_x(int block, int part) {
  return load_native(kPixelX + part * kNativeLanes) + splat_native(4.0f * (block & 3));
}
SW_INLINE Native block_y(int block, int part) {
  return load_native(kPixelY + part * kNativeLanes) + splat_native(4.0f * (block >> 2));
}
// log₂ α before the cap.
SW_INLINE Native exponent(const float* line, Native dx, Native dy) {
  return (splat_native(line[kA]) * dx + splat_native(line[kB]) * dy) * dx +
         (splat_native(line[kC]) * dy * dy + splat_native(line[kL]));
}
// α where 2^power is `raw`: capped, and 0 where it is too little to count.
SW_INLINE Native alpha_of(Native power, Native raw) {
  return select(power >= splat_native(kLog2AlphaMin), vmin(raw, splat_native(kAlphaMax)), splat_native(0.0f));
}
SW_INLINE bool any_part_above(const Native* parts, float bound) {
  bool any = false;
  for (int p = 0; p < kParts; ++p) any |= any_above(parts[p], bound);
  return any;
}

// A tile under work: its place in the picture, and its Gaussians in the scratch of the thread.
struct Tile {
  const SplatScene& s;
  const Context& c;
  TileScratch& t;
  const uint32_t begin, count;         // pairs
  const int left, top, columns, rows;  // pixels inside the picture

  Tile(const SplatScene& scene, const Context& context, int64_t index)
      : s(scene),
        c(context),
        t(scratch()),
        begin(c.tile_offset[index]),
        count(c.tile_offset[index + 1] - begin),
        left(static_cast<int>(index % c.tiles_x) * kTile),
        top(static_cast<int>(index / c.tiles_x) * kTile),
        columns(std::min(kTile, s.width - left)),
        rows(std::min(kTile, s.height - top)) {
    t.gather_tile(c, index);
  }
  SW_INLINE const float* line(uint32_t j) const { return t.lines + static_cast<size_t>(j) * kLine; }
  SW_INLINE const float* extra_of(uint32_t j) const {
    return s.extra + static_cast<int64_t>(c.id[c.pairs[begin + j].slot]) * s.channels;
  }
  bool covers(int block) const { return (block & 3) * 4 < columns && (block >> 2) * 4 < rows; }
  // 1 for pixels inside the picture: lanes outside start dead and cost nothing more.
  SW_INLINE Native inside(int block, int part) const {
    const Native x = block_x(block, part), y = block_y(block, part);
    const NativeInt mask = (x < splat_native(static_cast<float>(columns))) & (y < splat_native(static_cast<float>(rows)));
    return select(mask, splat_native(1.0f), splat_native(0.0f));
  }
  // Index in the picture of a block's pixel, −1 outside.
  SW_INLINE int64_t pixel(int block, int lane) const {
    const int x = left + (block & 3) * 4 + (lane & 3), y = top + (block >> 2) * 4 + (lane >> 2);
    return x < s.width && y < s.height ? static_cast<int64_t>(y) * s.width + x : -1;
  }
};

// What the pixels of a block have collected so far, a register for each part of the block.
struct BlockPixels {
  Native T[kParts], T_final[kParts];  // transmittance; the second stays where the pixel ended
  Native red[kParts], green[kParts], blue[kParts], depth[kParts], extra[kParts][kMaxExtra];
  Native best[kParts];       // largest weight,
  NativeInt winner[kParts];  // and the place in the tile of whose it is

  template <bool Extra>
  SW_INLINE void begin(const Tile& tile, int block) {
    const Native zero = splat_native(0.0f);
    for (int p = 0; p < kParts; ++p) {
      T[p] = tile.inside(block, p), T_final[p] = splat_native(1.0f);
      red[p] = green[p] = blue[p] = depth[p] = best[p] = zero;
      winner[p] = splat_native_int(-1);
      if (Extra)
        for (int k = 0; k < tile.s.channels; ++k) extra[p][k] = zero;
    }
  }
};

// Blends Gaussians start … stop − 1 of a block's list into a part of its pixels.
template <bool Contributions, bool Extra>
SW_INLINE void blend(const Tile& tile, int block, int p, uint32_t start, uint32_t stop, BlockPixels& to, float* contribution) {
  const uint32_t* list = tile.t.list[block];
  const Native px = block_x(block, p), py = block_y(block, p), zero = splat_native(0.0f);
  for (uint32_t i = start; i < stop; ++i) {
    const float* line = tile.line(list[i]);
    const Native dx = px - splat_native(line[kX]), dy = py - splat_native(line[kY]);
    const Native power = exponent(line, dx, dy), alpha = alpha_of(power, exp2_raster(power));
    // T only ever falls, so "still above the stop" needs no memory: one product per Gaussian is the whole dependency.
    const Native after = to.T[p] * (splat_native(1.0f) - alpha);
    const NativeInt alive = after > splat_native(kTransmittanceMin);
    const Native weight = select(alive, alpha * to.T[p], zero);
    to.T_final[p] = select(alive, after, to.T_final[p]);
    to.T[p] = after;
    to.red[p] += weight * splat_native(line[kRed]);
    to.green[p] += weight * splat_native(line[kGreen]);
    to.blue[p] += weight * splat_native(line[kBlue]);
    to.depth[p] += weight * splat_native(line[kDepth]);
    if (Extra) {
      const float* values = tile.extra_of(list[i]);
      for (int k = 0; k < tile.s.channels; ++k) to.extra[p][k] += weight * splat_native(values[k]);
    }
    if (Contributions) {
      float* row = contribution + static_cast<size_t>(list[i]) * 4;
      float sum = 0, touched = 0;
      for (int l = 0; l < kNativeLanes; ++l) sum += weight[l], touched += weight[l] > 0;
      row[0] += sum, row[1] += touched;
      const NativeInt better = weight > to.best[p];
      to.best[p] = select(better, weight, to.best[p]);
      to.winner[p] = select(better, splat_native_int(static_cast<int32_t>(list[i])), to.winner[p]);
    }
  }
}

// Puts the background behind a part of a block and writes its pixels.
template <bool Extra>
SW_INLINE void write_part(const Tile& tile, int block, int p, BlockPixels& from, const SplatPicture& out) {
  const SplatScene& s = tile.s;
  from.red[p] += from.T_final[p] * splat_native(s.background[0]);
  from.green[p] += from.T_final[p] * splat_native(s.background[1]);
  from.blue[p] += from.T_final[p] * splat_native(s.background[2]);
  for (int l = 0; l < kNativeLanes; ++l) {
    const int64_t pixel = tile.pixel(block, p * kNativeLanes + l);
    if (pixel < 0) continue;
    float* color = out.color + pixel * 3;
    color[0] = from.red[p][l], color[1] = from.green[p][l], color[2] = from.blue[p][l];
    out.depth[pixel] = from.depth[p][l];
    out.alpha[pixel] = 1.0f - from.T_final[p][l];
    if (Extra)
      for (int k = 0; k < s.channels; ++k) out.extra[pixel * s.channels + k] = from.extra[p][k][l];
  }
}

template <bool Contributions, bool Extra>
void forward_tile(const SplatScene& s, Context& c, const SplatPicture& out, int64_t index, float* pair_contribution) {
  const Tile tile(s, c, index);
  float* contribution = nullptr;
  if (Contributions) {
    contribution = aligned(tile.t.contribution_storage, static_cast<size_t>(tile.count) * 4);
    std::memset(contribution, 0, static_cast<size_t>(tile.count) * 4 * sizeof(float));
  }
  for (int block = 0; block < kBlocks; ++block) {
    c.reached[index * kBlocks + block] = 0;
    if (!tile.covers(block)) continue;
    BlockPixels pixels;
    pixels.begin<Extra>(tile, block);
    const uint32_t n = tile.t.counts[block];
    uint32_t i = 0;
    while (i < n && any_part_above(pixels.T, kTransmittanceMin)) {
      const uint32_t start = i;
      i = std::min(n, start + kBatch);
      for (int p = 0; p < kParts; ++p) blend<Contributions, Extra>(tile, block, p, start, i, pixels, contribution);
    }
    c.reached[index * kBlocks + block] = i;
    for (int p = 0; p < kParts; ++p) {
      if (Contributions)
        for (int l = 0; l < kNativeLanes; ++l)
          if (pixels.winner[p][l] >= 0) contribution[static_cast<size_t>(pixels.winner[p][l]) * 4 + 2] += 1;
      write_part<Extra>(tile, block, p, pixels, out);
    }
  }
  if (Contributions)
    for (uint32_t j = 0; j < tile.count; ++j)
      std::memcpy(pair_contribution + static_cast<int64_t>(c.pairs[tile.begin + j].place) * 4,
                  contribution + static_cast<size_t>(j) * 4, 4 * sizeof(float));
}

void reduce_contributions(const SplatScene& s, const Context& c, const SplatPicture& out, const float* pair_contribution) {
  std::fill(out.weight_sum, out.weight_sum + s.n, 0.0f);
  std::fill(out.pixel_count, out.pixel_count + s.n, 0);
  std::fill(out.argmax_count, out.argmax_count + s.n, 0);
  parallel_ranges(c.visible, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t slot = begin; slot < end; ++slot) {
      double sum = 0;
      int64_t pixels = 0, wins = 0;
      const float* row = pair_contribution + static_cast<int64_t>(c.first_pair[slot]) * 4;
      for (uint32_t k = 0; k < c.pair_count[slot]; ++k, row += 4)
        sum += row[0], pixels += static_cast<int64_t>(row[1]), wins += static_cast<int64_t>(row[2]);
      const int64_t g = c.id[slot];
      out.weight_sum[g] = static_cast<float>(sum), out.pixel_count[g] = pixels, out.argmax_count[g] = wins;
    }
  });
}

// -------------------------------------------------------------------------------------------------------------------- backward

// Columns of the moment product.  Even lanes are multiplied by v = α·∂L/∂α, odd lanes by the weight w.
enum Moment { kOne = 0, kRedM = 1, kMx = 2, kGreenM = 3, kMy = 4, kBlueM = 5, kMxx = 6, kDepthM = 7, kMxy = 8, kMyy = 10, kAbsU = 12, kAbsV = 14 };

// What the loss wants of a block's pixels.
struct Upstream {
  alignas(64) float values[4][16];    // ∂L/∂ red, green, blue, depth
  alignas(64) float suffix[16];       // Σ w·∂L/∂w, the background included
  alignas(64) float columns[16][16];  // pixel by pixel: what v and w are multiplied by to give the moments
  alignas(64) float extra[kMaxExtra][16], extra_columns[16][16];

  template <bool Extra>
  SW_INLINE void read(const Tile& tile, int block, const SplatPicture& picture, const SplatGradients& g) {
    const SplatScene& s = tile.s;
    std::memset(values, 0, sizeof values), std::memset(suffix, 0, sizeof suffix), std::memset(columns, 0, sizeof columns);
    if (Extra) {
      std::memset(extra_columns, 0, sizeof extra_columns);
      std::memset(extra, 0, s.channels * sizeof extra[0]);
    }
    for (int l = 0; l < 16; ++l) {
      // Moments are taken about the tile's centre and moved to the Gaussian's own at the end.
      const float mx = kPixelX[l] + 4.0f * (block & 3) - 8.0f, my = kPixelY[l] + 4.0f * (block >> 2) - 8.0f;
      columns[l][kOne] = 1, columns[l][kMx] = mx, columns[l][kMy] = my;
      columns[l][kMxx] = mx * mx, columns[l][kMxy] = mx * my, columns[l][kMyy] = my * my;
      const int64_t pixel = tile.pixel(block, l);
      if (pixel < 0) continue;
      float sum = 0;
      for (int k = 0; k < 3; ++k) {
        values[k][l] = g.color[pixel * 3 + k];
        sum += values[k][l] * picture.color[pixel * 3 + k];
      }
      if (g.depth) {
        values[3][l] = g.depth[pixel];
        sum += values[3][l] * picture.depth[pixel];
      }
      if (g.alpha) sum -= g.alpha[pixel] * (1.0f - picture.alpha[pixel]);
      for (int k = 0; Extra && k < s.channels; ++k) {
        const float u = g.extra[pixel * s.channels + k];
        extra[k][l] = u;
        extra_columns[l][k] = u;
        sum += u * picture.extra[pixel * s.channels + k];
      }
      suffix[l] = sum;
      columns[l][kRedM] = values[0][l], columns[l][kGreenM] = values[1][l], columns[l][kBlueM] = values[2][l];
      columns[l][kDepthM] = values[3][l];
    }
  }
};

// For each Gaussian of a batch two numbers of every pixel, beside each other: v = α·∂L/∂α and the weight w; and the absolute
// gradients of the centre's u and v, still without their ln 2.
struct Products {
  alignas(64) float moments[kBatch][32];
  alignas(64) float absolutes[kBatch][32];

  // Gaussians that a batch lacks are summed with the others and must be numbers.
  template <bool Absolute>
  SW_INLINE void clear_from(int batch) {
    for (int k = batch; k < kBatch; ++k) {
      std::memset(moments[k], 0, sizeof moments[k]);
      if (Absolute) std::memset(absolutes[k], 0, sizeof absolutes[k]);
    }
  }
};

// Walks a batch of a block's list through a part of its pixels.  T is the transmittance so far, S the sum of w·∂L/∂w over what is
// not yet passed, the background included.
template <bool Absolute, bool Extra>
SW_INLINE void differentiate(
    const Tile& tile, int block, int p, const uint32_t* list, int batch, const Upstream& up, Native& T, Native& S,
    Products& products) {
  const int lane = p * kNativeLanes;
  const Native px = block_x(block, p), py = block_y(block, p), zero = splat_native(0.0f), one = splat_native(1.0f);
  const Native up_red = load_native(up.values[0] + lane), up_green = load_native(up.values[1] + lane);
  const Native up_blue = load_native(up.values[2] + lane), up_depth = load_native(up.values[3] + lane);
  for (int k = 0; k < batch; ++k) {
    const float* line = tile.line(list[k]);
    const Native dx = px - splat_native(line[kX]), dy = py - splat_native(line[kY]);
    const Native power = exponent(line, dx, dy), raw = exp2_raster(power), alpha = alpha_of(power, raw);
    const Native passed = one - alpha, after = T * passed;
    const NativeInt alive = after > splat_native(kTransmittanceMin);
    const Native weight = select(alive, alpha * T, zero);
    T = after;
    Native slope = splat_native(line[kRed]) * up_red + splat_native(line[kGreen]) * up_green +
                   splat_native(line[kBlue]) * up_blue + splat_native(line[kDepth]) * up_depth;  // ∂L/∂w
    if (Extra) {
      const float* values = tile.extra_of(list[k]);
      for (int e = 0; e < tile.s.channels; ++e) slope += splat_native(values[e]) * load_native(up.extra[e] + lane);
    }
    const Native own = weight * slope;
    S -= own;
    Native v = own - S * (alpha * reciprocal(passed));  // α·∂L/∂α
    v = select(alive & (raw <= splat_native(kAlphaMax)), v, zero);
    store_interleaved(products.moments[k] + 2 * lane, v, weight);
    if (Absolute) {
      const Native du = vabs(v * (splat_native(2 * line[kA]) * dx + splat_native(line[kB]) * dy));
      const Native dv = vabs(v * (splat_native(line[kB]) * dx + splat_native(2 * line[kC]) * dy));
      store_interleaved(products.absolutes[k] + 2 * lane, du, dv);
    }
  }
}

// Adds a batch's moments over a block to the gradients of its Gaussians.
template <bool Absolute, bool Extra>
SW_INLINE void add_moments(
    const Products& products, const Upstream& up, const uint32_t* list, int batch, float* gradients, int stride) {
  for (int first = 0; first < batch; first += kTogether) {
    Native sums[kTogether][kParts];
    for (int k = 0; k < kTogether; ++k)
      for (int p = 0; p < kParts; ++p) sums[k][p] = splat_native(0.0f);
    for (int l = 0; l < 16; ++l) {
      Native row[kParts];
      for (int p = 0; p < kParts; ++p) row[p] = load_native(up.columns[l] + p * kNativeLanes);
      for (int k = 0; k < kTogether; ++k) {
        const Native two = splat_pair(products.moments[first + k] + 2 * l);
        for (int p = 0; p < kParts; ++p) sums[k][p] += two * row[p];
      }
    }
    for (int k = 0; k < std::min(kTogether, batch - first); ++k) {
      float* target = gradients + static_cast<size_t>(list[first + k]) * stride;
      if (Absolute) {
        float u = 0, v = 0;
        for (int l = 0; l < 16; ++l) u += products.absolutes[first + k][2 * l], v += products.absolutes[first + k][2 * l + 1];
        sums[k][kAbsU / kNativeLanes][kAbsU % kNativeLanes] = u, sums[k][kAbsV / kNativeLanes][kAbsV % kNativeLanes] = v;
      }
      for (int p = 0; p < kParts; ++p)
        store(target + p * kNativeLanes, load_native(target + p * kNativeLanes) + sums[k][p]);
      if (Extra) {
        V16 sum = splat(0.0f);
#pragma GCC unroll 16
        for (int l = 0; l < 16; ++l) sum += splat(products.moments[first + k][2 * l + 1]) * load(up.extra_columns[l]);
        store(target + kLine, load(target + kLine) + sum);
      }
    }
  }
}

// Moves a tile's moments from its centre to the Gaussians' own and hands them to their pairs.
template <bool Extra>
SW_INLINE void hand_to_pairs(const Tile& tile, int stride) {
  const Context& c = tile.c;
  const auto target = [&](uint32_t j) { return c.pair_gradients + static_cast<int64_t>(c.pairs[tile.begin + j].place) * stride; };
  for (uint32_t j = 0; j < std::min(tile.count, kAhead); ++j) __builtin_prefetch(target(j), 1);
  for (uint32_t j = 0; j < tile.count; ++j) {
    if (j + kAhead < tile.count) __builtin_prefetch(target(j + kAhead), 1);
    float* from = tile.t.gradients + static_cast<size_t>(j) * stride;
    const float x = tile.line(j)[kX] - 8.0f, y = tile.line(j)[kY] - 8.0f;
    const float m = from[kOne], mx = from[kMx], my = from[kMy];
    from[kMx] = mx - x * m, from[kMy] = my - y * m;
    from[kMxx] += x * (x * m - 2 * mx);
    from[kMyy] += y * (y * m - 2 * my);
    from[kMxy] += x * y * m - x * my - y * mx;
    float* to = target(j);
    store(to, load(from));
    if (Extra) store(to + kLine, load(from + kLine));
  }
}

template <bool Absolute, bool Extra>
void backward_tile(const SplatScene& s, Context& c, const SplatPicture& picture, const SplatGradients& g, int64_t index, int stride) {
  const Tile tile(s, c, index);
  TileScratch& t = tile.t;
  t.gradients = aligned(t.gradient_storage, static_cast<size_t>(tile.count) * stride);
  std::memset(t.gradients, 0, static_cast<size_t>(tile.count) * stride * sizeof(float));
  Products products;
  for (int block = 0; block < kBlocks; ++block) {
    const uint32_t n = c.reached[index * kBlocks + block];
    if (n == 0) continue;
    Upstream up;
    up.read<Extra>(tile, block, picture, g);
    Native T[kParts], S[kParts];
    for (int p = 0; p < kParts; ++p) {
      T[p] = tile.inside(block, p);
      S[p] = load_native(up.suffix + p * kNativeLanes);
    }
    for (uint32_t base = 0; base < n; base += kBatch) {
      const uint32_t* list = t.list[block] + base;
      const int batch = static_cast<int>(std::min<uint32_t>(kBatch, n - base));
      for (int p = 0; p < kParts; ++p)
        differentiate<Absolute, Extra>(tile, block, p, list, batch, up, T[p], S[p], products);
      products.clear_from<Absolute>(batch);
      add_moments<Absolute, Extra>(products, up, list, batch, t.gradients, stride);
    }
  }
  hand_to_pairs<Extra>(tile, stride);
}

// Sixteen drawn Gaussians (the last of them again in lanes that are left over) and what rasterising collected for them.
struct Collected {
  int lanes;
  int32_t rows[16];
  alignas(64) float moments[16][16], fields[kLine][16];

  // Adds up the pairs of slots first … first + count − 1.  Extra channels need nothing more and are written.
  SW_INLINE void add_up(const SplatScene& s, const Context& c, const SplatGradients& g, int64_t first, int count, int stride) {
    lanes = count;
    std::memset(moments, 0, sizeof moments);
    for (int lane = 0; lane < 16; ++lane) {
      const int64_t slot = first + std::min(lane, lanes - 1);
      rows[lane] = c.id[slot];
      const float* line = c.lines + slot * kLine;
      for (int k = 0; k < kLine; ++k) fields[k][lane] = line[k];
      if (lane >= lanes) continue;
      const float* pair = c.pair_gradients + static_cast<int64_t>(c.first_pair[slot]) * stride;
      V16 sum = splat(0.0f), extra_sum = splat(0.0f);
      for (uint32_t k = 0; k < c.pair_count[slot]; ++k, pair += stride) {
        sum += load(pair);
        if (s.channels) extra_sum += load(pair + kLine);
      }
      for (int k = 0; k < 16; ++k) moments[k][lane] = sum[k];
      if (g.extra_in)
        for (int k = 0; k < s.channels; ++k) g.extra_in[static_cast<int64_t>(rows[lane]) * s.channels + k] = extra_sum[k];
    }
  }
};

// Gradients with respect to the ellipse on the image plane: its centre (u, v) and Σ′.
struct EllipseGradient {
  V16 u, v, g00, g01, g11;
  SW_INLINE EllipseGradient(const Projection& p, const Collected& from) {
    const V16 inverse = splat(1.0f) / (p.c00 * p.c11 - p.c01 * p.c01);
    const V16 a = p.c11 * inverse, b = -p.c01 * inverse, cc = p.c00 * inverse;
    const V16 mx = load(from.moments[kMx]), my = load(from.moments[kMy]);
    u = a * mx + b * my, v = b * mx + cc * my;
    // ∂L/∂Σ′ = ½ K M K with K = Σ′⁻¹ and M the second moments: α = o·exp(−½ dᵀKd)
    const V16 mxx = load(from.moments[kMxx]), mxy = load(from.moments[kMxy]), myy = load(from.moments[kMyy]);
    const V16 t00 = a * mxx + b * mxy, t01 = a * mxy + b * myy, t10 = b * mxx + cc * mxy, t11 = b * mxy + cc * myy;
    const V16 half = splat(0.5f);
    g00 = half * (t00 * a + t01 * b), g01 = half * (t00 * b + t01 * cc), g11 = half * (t10 * b + t11 * cc);
  }
};

// From Σ′ back through U = V·H.
SW_INLINE void shape_gradient(const Projection& p, const EllipseGradient& ellipse, V16* dV, V16* dH) {
  const V16 two = splat(2.0f);
  V16 dU[6];
  for (int k = 0; k < 3; ++k) {
    dU[k] = two * (ellipse.g00 * p.U[k] + ellipse.g01 * p.U[3 + k]);
    dU[3 + k] = two * (ellipse.g01 * p.U[k] + ellipse.g11 * p.U[3 + k]);
  }
  for (int r = 0; r < 3; ++r)
    for (int k = 0; k < 3; ++k) dH[3 * r + k] = p.V[r] * dU[k] + p.V[3 + r] * dU[3 + k];
  for (int r = 0; r < 2; ++r)
    for (int k = 0; k < 3; ++k)
      dV[3 * r + k] = dU[3 * r] * p.H[3 * k] + dU[3 * r + 1] * p.H[3 * k + 1] + dU[3 * r + 2] * p.H[3 * k + 2];
}

// From H = Q·diag(s) back to the scales, or their logarithms where these are stored.
SW_INLINE void scale_gradient(const SplatScene& s, const Projection& p, const V16* dH, V16* d_scale) {
  for (int k = 0; k < 3; ++k) {
    d_scale[k] = dH[k] * p.Q[k] + dH[3 + k] * p.Q[3 + k] + dH[6 + k] * p.Q[6 + k];
    if (s.stored) d_scale[k] *= p.s[k];
  }
}

// From H = Q·diag(s) back through the rotation Q to the quaternion before it was normalised.
SW_INLINE void quaternion_gradient(const Projection& p, const V16* dH, V16* d_quat) {
  const V16 two = splat(2.0f);
  // ∂L/∂Q by row and column; nine names and no array, which the compiler would keep in memory.
  const V16 q00 = dH[0] * p.s[0], q01 = dH[1] * p.s[1], q02 = dH[2] * p.s[2];
  const V16 q10 = dH[3] * p.s[0], q11 = dH[4] * p.s[1], q12 = dH[5] * p.s[2];
  const V16 q20 = dH[6] * p.s[0], q21 = dH[7] * p.s[1], q22 = dH[8] * p.s[2];
  d_quat[0] = two * (p.qx * (q21 - q12) + p.qy * (q02 - q20) + p.qz * (q10 - q01));
  d_quat[1] = two * (-two * p.qx * (q11 + q22) + p.qy * (q01 + q10) + p.qz * (q02 + q20) + p.w * (q21 - q12));
  d_quat[2] = two * (p.qx * (q01 + q10) - two * p.qy * (q00 + q22) + p.qz * (q12 + q21) + p.w * (q02 - q20));
  d_quat[3] = two * (p.qx * (q02 + q20) + p.qy * (q12 + q21) - two * p.qz * (q00 + q11) + p.w * (q10 - q01));
  const V16 along = d_quat[0] * p.w + d_quat[1] * p.qx + d_quat[2] * p.qy + d_quat[3] * p.qz;
  d_quat[0] = (d_quat[0] - along * p.w) * p.inverse_norm, d_quat[1] = (d_quat[1] - along * p.qx) * p.inverse_norm;
  d_quat[2] = (d_quat[2] - along * p.qy) * p.inverse_norm, d_quat[3] = (d_quat[3] - along * p.qz) * p.inverse_norm;
}

// From (u, v), depth and V = J·R back to the centre in the camera's frame.
struct CameraGradient {
  V16 x, y, z;
  SW_INLINE CameraGradient(const Lens& lens, const Projection& p, const EllipseGradient& ellipse, const V16* dV, V16 d_depth) {
    // J = [[fx/z, 0, −fx·x̂/z], [0, fy/z, −fy·ŷ/z]] with x̂, ŷ the clamped slopes
    const float* R = lens.R;
    const V16 fx = splat(lens.fx), fy = splat(lens.fy), du = ellipse.u, dv = ellipse.v, zero = splat(0.0f);
    const V16 dJ00 = dV[0] * splat(R[0]) + dV[1] * splat(R[1]) + dV[2] * splat(R[2]);
    const V16 dJ02 = dV[0] * splat(R[6]) + dV[1] * splat(R[7]) + dV[2] * splat(R[8]);
    const V16 dJ11 = dV[3] * splat(R[3]) + dV[4] * splat(R[4]) + dV[5] * splat(R[5]);
    const V16 dJ12 = dV[3] * splat(R[6]) + dV[4] * splat(R[7]) + dV[5] * splat(R[8]);
    x = du * fx * p.iz, y = dv * fy * p.iz;
    z = d_depth - (du * fx * p.slope_x + dv * fy * p.slope_y) * p.iz;
    z += ((dJ02 * fx * p.clamped_x + dJ12 * fy * p.clamped_y) - (dJ00 * fx + dJ11 * fy)) * p.iz * p.iz;
    const V16 d_slope_x = select(p.clamped_x == p.slope_x, -dJ02 * fx * p.iz, zero);
    const V16 d_slope_y = select(p.clamped_y == p.slope_y, -dJ12 * fy * p.iz, zero);
    x += d_slope_x * p.iz, y += d_slope_y * p.iz;
    z -= (d_slope_x * p.slope_x + d_slope_y * p.slope_y) * p.iz;
  }
};

// Gradients with respect to colours before the clamp at 0, by channel and lane.
struct ColorGradient {
  alignas(64) float values[3][16];
  SW_INLINE explicit ColorGradient(const Collected& from) {
    for (int k = 0; k < 3; ++k)
      for (int lane = 0; lane < 16; ++lane)
        values[k][lane] = (static_cast<int>(from.fields[kSigns][lane]) >> k & 1) ? from.moments[kRedM + 2 * k][lane] : 0.0f;
  }
};

// Writes the gradients of the higher harmonics and passes through the basis and the view direction back to the centre: d_mean.
SW_INLINE void harmonics_gradient(
    const SplatScene& s, const SplatGradients& g, const Collected& from, const Direction& direction,
    const float (&basis)[16][16], const ColorGradient& color, V16 (&d_mean)[3]) {
  const int rest = higher_harmonics(s.sh_degree);
  alignas(64) float d_basis_table[16][16];
  for (int lane = 0; lane < from.lanes; ++lane) {
    const int64_t row = from.rows[lane];
    const float* shN = s.shN + row * 3 * s.sh_rest;
    const float r = color.values[0][lane], gr = color.values[1][lane], bl = color.values[2][lane];
    float* out = g.shN + row * 3 * s.sh_rest;
    for (int j = 0; j < rest; ++j) {
      const float y = basis[j + 1][lane];
      out[3 * j] = y * r, out[3 * j + 1] = y * gr, out[3 * j + 2] = y * bl;
      d_basis_table[j + 1][lane] = shN[3 * j] * r + shN[3 * j + 1] * gr + shN[3 * j + 2] * bl;
    }
  }
  for (int lane = from.lanes; lane < 16; ++lane)
    for (int j = 0; j < rest; ++j) d_basis_table[j + 1][lane] = 0;
  V16 d_basis[16], d_direction[3];
  for (int j = 1; j <= rest; ++j) d_basis[j] = load(d_basis_table[j]);
  sh_basis_gradient(s.sh_degree, direction.x, direction.y, direction.z, d_basis, d_direction);
  const V16 radial =
      d_direction[0] * direction.x + d_direction[1] * direction.y + d_direction[2] * direction.z;  // normalising removes it
  d_mean[0] = (d_direction[0] - radial * direction.x) * direction.inverse_length;
  d_mean[1] = (d_direction[1] - radial * direction.y) * direction.inverse_length;
  d_mean[2] = (d_direction[2] - radial * direction.z) * direction.inverse_length;
}

// Adds sixteen Gaussians' part of the pose's gradient.  Points: dL/dR += d_camera ⊗ mean, dL/dt += d_camera; covariance: V = J·R;
// the camera's centre, by the view direction: −Rᵀt.
SW_INLINE void add_to_pose(
    const SplatScene& s, const Lens& lens, const Projection& p, const V16* mean, int lanes, const CameraGradient& camera,
    const V16* dV, const V16* d_center, double* pose) {
  const V16 iz = p.iz, jx = splat(lens.fx) * iz, jy = splat(lens.fy) * iz;
  for (int lane = 0; lane < lanes; ++lane) {
    const float d_camera[3] = {camera.x[lane], camera.y[lane], camera.z[lane]};
    const float j00 = jx[lane], j02 = -jx[lane] * p.clamped_x[lane], j11 = jy[lane], j12 = -jy[lane] * p.clamped_y[lane];
    for (int k = 0; k < 3; ++k) {
      const float m = mean[k][lane];
      pose[k] += d_camera[0] * m + j00 * dV[k][lane];
      pose[3 + k] += d_camera[1] * m + j11 * dV[3 + k][lane];
      pose[6 + k] += d_camera[2] * m + j02 * dV[k][lane] + j12 * dV[3 + k][lane];
      pose[9 + k] += d_camera[k];
      const float dc = d_center[k][lane];
      for (int r = 0; r < 3; ++r) {
        pose[3 * r + k] -= s.translation[r] * dc;
        pose[9 + r] -= s.rotation[3 * r + k] * dc;
      }
    }
  }
}

// Gradients of the parameters of up to sixteen drawn Gaussians; `pose` (nullable) collects the camera's.
SW_INLINE void project_sixteen_backward(
    const SplatScene& s, const SplatGradients& g, const Lens& lens, const Collected& from, double* pose) {
  Inputs in;
  in.read(s, from.rows, 16);
  V16 scale[3];
  for (int k = 0; k < 3; ++k) scale[k] = s.stored ? expv(in.scale[k]) : in.scale[k];
  Projection p;
  p.run(lens, in.mean, in.quat, scale);
  const EllipseGradient ellipse(p, from);
  V16 dV[6], dH[9], d_scale[3], d_quat[4];
  shape_gradient(p, ellipse, dV, dH);
  scale_gradient(s, p, dH, d_scale);
  quaternion_gradient(p, dH, d_quat);
  const CameraGradient camera(lens, p, ellipse, dV, load(from.moments[kDepthM]));
  V16 d_mean[3];
  for (int k = 0; k < 3; ++k)
    d_mean[k] = splat(lens.R[k]) * camera.x + splat(lens.R[3 + k]) * camera.y + splat(lens.R[6 + k]) * camera.z;
  const V16 opacity = load(from.fields[kOpacity]), m0 = load(from.moments[kOne]);
  const V16 d_opacity = s.stored ? m0 * (splat(1.0f) - opacity) : m0 / opacity;

  const ColorGradient color(from);
  const Direction direction(in.mean, lens.center);
  V16 basis[16];
  sh_basis(s.sh_degree, direction.x, direction.y, direction.z, basis);
  alignas(64) float basis_table[16][16];
  for (int k = 0; k <= higher_harmonics(s.sh_degree); ++k) store(basis_table[k], basis[k]);
  V16 d_center[3] = {splat(0.0f), splat(0.0f), splat(0.0f)};
  if (s.sh_degree > 0) {
    V16 d[3];
    harmonics_gradient(s, g, from, direction, basis_table, color, d);
    for (int k = 0; k < 3; ++k) d_mean[k] += d[k], d_center[k] = -d[k];
  }
  for (int lane = 0; lane < from.lanes; ++lane) {
    const int64_t row = from.rows[lane];
    for (int k = 0; k < 3; ++k) {
      g.means[row * 3 + k] = d_mean[k][lane];
      g.scales[row * 3 + k] = d_scale[k][lane];
      g.sh0[row * 3 + k] = basis_table[0][lane] * color.values[k][lane];
    }
    for (int k = 0; k < 4; ++k) g.quats[row * 4 + k] = d_quat[k][lane];
    g.opacities[row] = d_opacity[lane];
    if (g.screen) {
      float* screen = g.screen + row * g.screen_columns;
      screen[0] = ellipse.u[lane], screen[1] = ellipse.v[lane];
      if (g.screen_columns == 4) {  // per-pixel absolute gradients carry ln 2 from the base-2 exponent
        screen[2] = from.moments[kAbsU][lane] * kLn2, screen[3] = from.moments[kAbsV][lane] * kLn2;
      }
    }
  }
  if (pose) add_to_pose(s, lens, p, in.mean, from.lanes, camera, dV, d_center, pose);
}

void project_backward(const SplatScene& s, Context& c, const SplatGradients& g, int stride) {
  const Lens lens(s);
  const int64_t chunks = (s.n + kGaussianGrain - 1) / kGaussianGrain;
  c.pose_partial.assign(g.pose ? chunks * 12 : 0, 0.0);
  parallel_for(chunks, [&](int64_t chunk) {
    const int64_t begin = chunk * kGaussianGrain, end = std::min<int64_t>(s.n, begin + kGaussianGrain);
    const auto clear = [&](float* array, int64_t columns) {
      if (array) std::memset(array + begin * columns, 0, (end - begin) * columns * sizeof(float));
    };
    clear(g.means, 3), clear(g.quats, 4), clear(g.scales, 3), clear(g.opacities, 1), clear(g.sh0, 3);
    clear(g.shN, 3 * s.sh_rest), clear(g.screen, g.screen_columns), clear(g.extra_in, s.channels);
    for (int64_t first = c.chunk_slot[chunk]; first < c.chunk_slot[chunk + 1]; first += 16) {
      for (int64_t next = first + 16; next < std::min<int64_t>(first + 32, c.visible); ++next)
        for (uint32_t k = 0; k < std::min(c.pair_count[next], 4u); ++k)
          __builtin_prefetch(c.pair_gradients + static_cast<int64_t>(c.first_pair[next] + k) * stride);
      Collected sixteen;
      sixteen.add_up(s, c, g, first, static_cast<int>(std::min<int64_t>(16, c.chunk_slot[chunk + 1] - first)), stride);
      project_sixteen_backward(s, g, lens, sixteen, g.pose ? c.pose_partial.data() + chunk * 12 : nullptr);
    }
  });
  if (g.pose) {
    std::fill(g.pose, g.pose + 12, 0.0);
    for (int64_t chunk = 0; chunk < chunks; ++chunk)
      for (int k = 0; k < 12; ++k) g.pose[k] += c.pose_partial[chunk * 12 + k];
  }
}

// ---------------------------------------------------------------------------------------- what each Gaussian sees of a picture

// The transpose of blending extra channels: Σ over pixels of w·F, with the weights of the forward pass.  Channels come in groups
// of 16, up to kGatherGroups at a time, so that a weight is computed once for all of them.  Channel `channels` of the field is
// the constant 1: it sums the weights themselves.
constexpr int kGatherGroups = 5;

struct FieldPart {
  const float* field;  // [height, width, channels]
  int32_t channels, first, count;
};

template <int Groups>
void gather_field_tile(const SplatScene& s, const Context& c, const FieldPart& part, int64_t index) {
  constexpr int kStride = Groups * kLine;
  const Tile tile(s, c, index);
  TileScratch& t = tile.t;
  t.gradients = aligned(t.gradient_storage, static_cast<size_t>(tile.count) * kStride);
  std::memset(t.gradients, 0, static_cast<size_t>(tile.count) * kStride * sizeof(float));
  const int stored = std::max(0, std::min(part.count, part.channels - part.first));  // the rest is the channel of ones
  alignas(64) float columns[16][kStride];
  for (int block = 0; block < kBlocks; ++block) {
    if (!tile.covers(block)) continue;
    std::memset(columns, 0, sizeof columns);
    for (int l = 0; l < 16; ++l) {
      const int64_t pixel = tile.pixel(block, l);
      if (pixel < 0) continue;
      std::memcpy(columns[l], part.field + pixel * part.channels + part.first, stored * sizeof(float));
      for (int k = stored; k < part.count; ++k) columns[l][k] = 1.0f;
    }
    Native T[kParts];
    for (int p = 0; p < kParts; ++p) T[p] = tile.inside(block, p);
    const uint32_t* list = t.list[block];
    const uint32_t n = t.counts[block];
    uint32_t i = 0;
    while (i < n && any_part_above(T, kTransmittanceMin)) for (const uint32_t stop = std::min(n, i + kBatch); i < stop; ++i) {
      const float* line = tile.line(list[i]);
      alignas(64) float weight[16];
      for (int p = 0; p < kParts; ++p) {
        const Native dx = block_x(block, p) - splat_native(line[kX]), dy = block_y(block, p) - splat_native(line[kY]);
        const Native power = exponent(line, dx, dy), alpha = alpha_of(power, exp2_raster(power));
        const Native after = T[p] * (splat_native(1.0f) - alpha);
        store(weight + p * kNativeLanes, select(after > splat_native(kTransmittanceMin), alpha * T[p], splat_native(0.0f)));
        T[p] = after;
      }
      float* target = t.gradients + static_cast<size_t>(list[i]) * kStride;
      V16 sums[Groups];
      for (int g = 0; g < Groups; ++g) sums[g] = load(target + g * kLine);
      for (int l = 0; l < 16; ++l) {
        const V16 w = splat(weight[l]);
        for (int g = 0; g < Groups; ++g) sums[g] += w * load(columns[l] + g * kLine);
      }
      for (int g = 0; g < Groups; ++g) store(target + g * kLine, sums[g]);
    }
  }
  for (uint32_t j = 0; j < tile.count; ++j)
    std::memcpy(c.pair_gradients + static_cast<int64_t>(c.pairs[tile.begin + j].place) * kStride,
                t.gradients + static_cast<size_t>(j) * kStride, kStride * sizeof(float));
}

template <int Groups>
void gather_field(const SplatScene& s, Context& c, const FieldPart& part, float* sums, float* weights) {
  constexpr int kStride = Groups * kLine;
  const int64_t tiles = static_cast<int64_t>(c.tiles_x) * c.tiles_y;
  c.pair_gradients = aligned(c.pair_storage, static_cast<size_t>(c.tile_offset[tiles]) * kStride);
  parallel_for(tiles, [&](int64_t index) { gather_field_tile<Groups>(s, c, part, index); });
  const int stored = std::max(0, std::min(part.count, part.channels - part.first));
  parallel_ranges(c.visible, 1024, [&](int64_t begin, int64_t end) {
    for (int64_t slot = begin; slot < end; ++slot) {
      const float* row = c.pair_gradients + static_cast<int64_t>(c.first_pair[slot]) * kStride;
      V16 total[Groups];
      for (int g = 0; g < Groups; ++g) total[g] = splat(0.0f);
      for (uint32_t k = 0; k < c.pair_count[slot]; ++k, row += kStride)
        for (int g = 0; g < Groups; ++g) total[g] += load(row + g * kLine);
      alignas(64) float values[kStride];
      for (int g = 0; g < Groups; ++g) store(values + g * kLine, total[g]);
      const int64_t gaussian = c.id[slot];
      std::memcpy(sums + gaussian * part.channels + part.first, values, stored * sizeof(float));
      if (stored < part.count) weights[gaussian] = values[stored];
    }
  });
}

double seconds_now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + 1e-9 * t.tv_nsec;
}

}  // namespace
}  // namespace sw

using namespace sw;

// A constant of kernels/splats/constants.py by its name there, NaN for unknown names.  A test compares the two, and the logarithm
// that is written out above with the one it stands for.
SW_EXPORT float sw_splats_constant(const char* name) {
  static constexpr struct {
    const char* name;
    float value;
  } kConstants[] = {{"ALPHA_MAX", kAlphaMax},
                    {"ALPHA_MIN", kAlphaMin},
                    {"TRANSMITTANCE_MIN", kTransmittanceMin},
                    {"DILATION", kDilation},
                    {"FRUSTUM_MARGIN", kFrustumMargin},
                    {"SCALE_MAX_LOG", kScaleMaxLog},
                    {"MEAN_MAX", kMeanMax},
                    {"LOG2_ALPHA_MIN", kLog2AlphaMin}};
  for (const auto& constant : kConstants)
    if (std::strcmp(constant.name, name) == 0) return constant.value;
  return NAN;
}

SW_EXPORT void* sw_splats_new() { return new Context; }
SW_EXPORT void sw_splats_delete(void* context) { delete static_cast<Context*>(context); }

// `seconds` (nullable): projection, binning, rasterisation.
SW_EXPORT void sw_splats_forward(void* context, const SplatScene* scene, const SplatPicture* picture, double* seconds) {
  Context& c = *static_cast<Context*>(context);
  const SplatScene& s = *scene;
  const double start = seconds_now();
  c.n = s.n;
  project(s, c, *picture);
  const double projected = seconds_now();
  bin(s, c);
  const double binned = seconds_now();
  const int64_t tiles = static_cast<int64_t>(c.tiles_x) * c.tiles_y;
  c.reached.resize(tiles * kBlocks);
  std::vector<float> pair_contribution(picture->weight_sum ? static_cast<size_t>(c.tile_offset[tiles]) * 4 + 4 : 0);
  using Forward = void (*)(const SplatScene&, Context&, const SplatPicture&, int64_t, float*);
  static constexpr Forward kForward[2][2] = {{forward_tile<false, false>, forward_tile<false, true>},
                                             {forward_tile<true, false>, forward_tile<true, true>}};
  const Forward forward = kForward[picture->weight_sum != nullptr][s.channels > 0];
  parallel_for(tiles, [&](int64_t tile) { forward(s, c, *picture, tile, pair_contribution.data()); });
  if (picture->weight_sum) reduce_contributions(s, c, *picture, pair_contribution.data());
  if (seconds) seconds[0] = projected - start, seconds[1] = binned - projected, seconds[2] = seconds_now() - binned;
}

// `seconds` (nullable): rasterisation, projection.
SW_EXPORT void sw_splats_backward(void* context, const SplatScene* scene, const SplatPicture* picture, const SplatGradients* gradients,
                                  double* seconds) {
  Context& c = *static_cast<Context*>(context);
  const SplatScene& s = *scene;
  const double start = seconds_now();
  const int64_t tiles = static_cast<int64_t>(c.tiles_x) * c.tiles_y;
  const int stride = s.channels ? 2 * kLine : kLine;
  c.pair_gradients = aligned(c.pair_storage, static_cast<size_t>(c.tile_offset[tiles]) * stride);
  using Backward = void (*)(const SplatScene&, Context&, const SplatPicture&, const SplatGradients&, int64_t, int);
  static constexpr Backward kBackward[2][2] = {{backward_tile<false, false>, backward_tile<false, true>},
                                               {backward_tile<true, false>, backward_tile<true, true>}};
  const Backward backward = kBackward[gradients->screen && gradients->screen_columns == 4][s.channels > 0];
  parallel_for(tiles, [&](int64_t tile) { backward(s, c, *picture, *gradients, tile, stride); });
  const double rastered = seconds_now();
  project_backward(s, c, *gradients, stride);
  if (seconds) seconds[0] = rastered - start, seconds[1] = seconds_now() - rastered;
}

// Counts for the benchmark: pairs, lanes evaluated by the forward pass (reached list entries × 16).
SW_EXPORT void sw_splats_counts(void* context, int64_t* counts) {
  Context& c = *static_cast<Context*>(context);
  const int64_t tiles = static_cast<int64_t>(c.tiles_x) * c.tiles_y;
  counts[0] = c.visible, counts[1] = c.tile_offset[tiles], counts[2] = 0;
  for (uint32_t r : c.reached) counts[2] += 16 * static_cast<int64_t>(r);
}

// Projects and bins, then writes Σ w·field [n, channels] and Σ w [n] of the Gaussians that are drawn; the caller clears both.
SW_EXPORT void sw_splats_gather(void* context, const SplatScene* scene, const float* field, int32_t channels, float* radii, float* sums,
                                float* weights) {
  Context& c = *static_cast<Context*>(context);
  const SplatScene& s = *scene;
  c.n = s.n;
  SplatPicture picture{};
  picture.radii = radii;
  project(s, c, picture);
  bin(s, c);
  c.reached.assign(static_cast<size_t>(c.tiles_x) * c.tiles_y * kBlocks, 0);
  using Gather = void (*)(const SplatScene&, Context&, const FieldPart&, float*, float*);
  static constexpr Gather kGather[kGatherGroups] = {gather_field<1>, gather_field<2>, gather_field<3>, gather_field<4>,
                                                    gather_field<5>};
  const int most = kGatherGroups * kLine, passes = (channels + 1 + most - 1) / most;
  for (int pass = 0, first = 0; pass < passes; ++pass) {  // passes of equal size: the last one is not a stub
    const int count = (channels + 1 - first + passes - pass - 1) / (passes - pass);
    kGather[(count + kLine - 1) / kLine - 1](s, c, {field, channels, first, count}, sums, weights);
    first += count;
  }
}
