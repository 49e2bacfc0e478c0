// Photographs of boxes, frustums and ellipsoids: the compiled twin of kernels/ray_casting/{reference,textures}.py.
//
// Rays are traced in tiles of 8×8 pixels (64 rays, four V16 per quantity).  A tile's rays lie in a narrow cone, so a cone–sphere
// test leaves about ten of several hundred primitives, and each of those is met by 16 rays at once.  Shadow rays of a tile lie
// in a cone from the lamp and are treated alike.
#include "common.h"

#include <algorithm>
#include <limits>
#include <vector>

namespace sw {
namespace {

constexpr int kLanes = 16;
constexpr int kTile = 8;                      // pixels per tile side
constexpr int kRays = kTile * kTile;          // rays per packet
constexpr int kVectors = kRays / kLanes;      // V16 per packet
constexpr float kNearestHit = 1e-4f;          // NEAREST_HIT of the reference
constexpr float kShadowOffset = 2e-3f;        // SHADOW_OFFSET of the reference
constexpr float kInfinity = std::numeric_limits<float>::infinity();

enum Shape { kBox = 0, kFrustum = 1, kEllipsoid = 2 };
enum Texture { kPlain, kStripes, kWood, kChecker, kNoise, kTiles, kPlanks, kBooks, kWindow, kScreen, kPicture, kLeaves, kOrnament };
constexpr int kFaceRound = 6;

struct V3 {
  V16 x, y, z;
};

SW_INLINE V16 nonzero(V16 v) { return select(vabs(v) > splat(1e-9f), v, select(v < splat(0.f), splat(-1e-9f), splat(1e-9f))); }

// ---- Primitives ------------------------------------------------------------------------------------------------------------

struct Primitive {
  int shape;
  float center[3], half[3], c, s;      // yaw cosine and sine
  float middle, slope, bottom, top;    // frustum radius factor = middle + slope·z
  float radius;                        // of the bounding sphere
  int material;
};

struct PrimitiveArrays {
  int64_t n;
  const int32_t* shapes;
  const float *centers, *half_sizes, *yaw, *end_scales;
  const int32_t* material_ids;
};

std::vector<Primitive> unpack(const PrimitiveArrays& a) {
  std::vector<Primitive> out(static_cast<size_t>(a.n));
  for (int64_t i = 0; i < a.n; ++i) {
    Primitive& p = out[i];
    p.shape = a.shapes[i];
    float squares = 0.f;
    for (int k = 0; k < 3; ++k) {
      p.center[k] = a.centers[3 * i + k];
      p.half[k] = a.half_sizes[3 * i + k];
      squares += p.half[k] * p.half[k];
    }
    p.c = a.yaw[2 * i];
    p.s = a.yaw[2 * i + 1];
    p.bottom = a.end_scales[2 * i];
    p.top = a.end_scales[2 * i + 1];
    p.middle = 0.5f * (p.bottom + p.top);
    p.slope = (p.top - p.bottom) / (2.f * p.half[2]);
    p.radius = p.shape == kEllipsoid ? std::max({p.half[0], p.half[1], p.half[2]}) : std::sqrt(squares);
    p.radius *= 1.0001f;
    p.material = a.material_ids[i];
  }
  return out;
}

SW_INLINE V3 into_local(const Primitive& p, V3 v) {
  return {p.c * v.x + p.s * v.y, p.c * v.y - p.s * v.x, v.z};
}

// Ray parameter where the rays enter the primitive from outside, +inf where they do not.
SW_INLINE V16 enter(const Primitive& p, V3 origin, V3 direction) {
  const V16 infinity = splat(kInfinity), nearest = splat(kNearestHit), zero = splat(0.f);
  V3 o = into_local(p, {origin.x - p.center[0], origin.y - p.center[1], origin.z - p.center[2]});
  V3 d = into_local(p, direction);
  if (p.shape == kBox) {
    V16 ix = 1.f / nonzero(d.x), iy = 1.f / nonzero(d.y), iz = 1.f / nonzero(d.z);
    V16 ax = -o.x * ix, ay = -o.y * iy, az = -o.z * iz;
    V16 rx = vabs(ix) * p.half[0], ry = vabs(iy) * p.half[1], rz = vabs(iz) * p.half[2];
    V16 first = vmax(vmax(ax - rx, ay - ry), az - rz);
    V16 last = vmin(vmin(ax + rx, ay + ry), az + rz);
    return select((first <= last) & (first > nearest), first, infinity);
  }
  if (p.shape == kFrustum) {
    float ix = 1.f / p.half[0], iy = 1.f / p.half[1];
    V16 px = o.x * ix, py = o.y * iy, ex = d.x * ix, ey = d.y * iy;
    V16 radius = p.middle + p.slope * o.z, growth = p.slope * d.z;
    V16 qa = ex * ex + ey * ey - growth * growth;
    V16 qb = px * ex + py * ey - radius * growth;
    V16 qc = px * px + py * py - radius * radius;
    V16 discriminant = qb * qb - qa * qc;
    V16 side = qc / nonzero(vsqrt(vmax(discriminant, zero)) - qb);
    I16 is_side = (discriminant > zero) & (side > nearest) & (vabs(o.z + side * d.z) <= splat(p.half[2])) &
                  (radius + side * growth > zero);
    I16 rising = d.z > zero;
    V16 cap_z = select(rising, splat(-p.half[2]), splat(p.half[2]));
    V16 cap = (cap_z - o.z) / nonzero(d.z);
    V16 cap_radius = p.middle + p.slope * cap_z;
    V16 cx = px + cap * ex, cy = py + cap * ey;
    I16 is_cap = (cap > nearest) & (cx * cx + cy * cy <= cap_radius * cap_radius);
    return vmin(select(is_side, side, infinity), select(is_cap, cap, infinity));
  }
  float ix = 1.f / p.half[0], iy = 1.f / p.half[1], iz = 1.f / p.half[2];
  V16 px = o.x * ix, py = o.y * iy, pz = o.z * iz, ex = d.x * ix, ey = d.y * iy, ez = d.z * iz;
  V16 qa = ex * ex + ey * ey + ez * ez;
  V16 qb = px * ex + py * ey + pz * ez;
  V16 qc = px * px + py * py + pz * pz - 1.f;
  V16 discriminant = qb * qb - qa * qc;
  V16 t = qc / nonzero(vsqrt(vmax(discriminant, zero)) - qb);
  return select((discriminant > zero) & (qb < zero) & (t > nearest), t, infinity);
}

struct Hit {
  float t;
  int primitive, face;
  float normal[3], local[3];
};

// Normal, face and local position of a known hit; one ray.
void describe(const Primitive& p, const float* origin, const float* direction, Hit* hit) {
  float rx = origin[0] - p.center[0], ry = origin[1] - p.center[1];
  float o[3] = {p.c * rx + p.s * ry, p.c * ry - p.s * rx, origin[2] - p.center[2]};
  float d[3] = {p.c * direction[0] + p.s * direction[1], p.c * direction[1] - p.s * direction[0], direction[2]};
  float n[3] = {0.f, 0.f, 0.f};
  for (int k = 0; k < 3; ++k) hit->local[k] = o[k] + hit->t * d[k];
  const float* local = hit->local;
  bool is_flat = false;
  int axis = 2;
  if (p.shape == kBox) {
    float closest = -kInfinity;
    for (int k = 0; k < 3; ++k) {
      float closeness = d[k] == 0.f ? -kInfinity : std::fabs(local[k]) - p.half[k];
      if (closeness > closest || k == 0) closest = closeness, axis = k;
    }
    is_flat = true;
  } else if (p.shape == kFrustum) {
    float radius = p.middle + p.slope * local[2];
    float sx = local[0] / p.half[0], sy = local[1] / p.half[1];
    float cap_z = d[2] > 0.f ? -p.half[2] : p.half[2];
    float below_cap = std::fabs(local[2] - cap_z) / p.half[2];
    float inside_rim = radius - std::sqrt(sx * sx + sy * sy);
    is_flat = below_cap < 1e-3f && inside_rim > below_cap;
    n[0] = sx / p.half[0], n[1] = sy / p.half[1], n[2] = -radius * p.slope;
  } else {
    for (int k = 0; k < 3; ++k) n[k] = local[k] / (p.half[k] * p.half[k]);
  }
  if (is_flat) {
    n[0] = n[1] = n[2] = 0.f;
    n[axis] = d[axis] > 0.f ? -1.f : 1.f;
    hit->face = 2 * axis + (n[axis] > 0.f);
  } else {
    float length = std::max(std::sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2]), 1e-12f);
    for (int k = 0; k < 3; ++k) n[k] /= length;
    hit->face = kFaceRound;
  }
  hit->normal[0] = p.c * n[0] - p.s * n[1];
  hit->normal[1] = p.s * n[0] + p.c * n[1];
  hit->normal[2] = n[2];
}

// ---- Packets of rays -------------------------------------------------------------------------------------------------------

struct alignas(64) Packet {
  float ox[kRays], oy[kRays], oz[kRays], dx[kRays], dy[kRays], dz[kRays], t[kRays];
  int32_t id[kRays];
  V3 origin(int v) const { return {load(ox + v * kLanes), load(oy + v * kLanes), load(oz + v * kLanes)}; }
  V3 direction(int v) const { return {load(dx + v * kLanes), load(dy + v * kLanes), load(dz + v * kLanes)}; }
};

// A cone with its apex where all rays meet; or everything when the rays do not fit a cone below 90°.
struct Cone {
  float apex[3], axis[3], cosine, sine;
  bool everything;
};

Cone cone_around(const float* apex, const Packet& packet, float sign) {
  Cone cone{};
  std::memcpy(cone.apex, apex, sizeof cone.apex);
  double sum[3] = {0., 0., 0.};
  alignas(64) float unit[3][kRays];
  for (int i = 0; i < kRays; ++i) {
    float x = packet.dx[i], y = packet.dy[i], z = packet.dz[i];
    float scale = sign / std::max(std::sqrt(x * x + y * y + z * z), 1e-20f);
    unit[0][i] = x * scale, unit[1][i] = y * scale, unit[2][i] = z * scale;
    for (int k = 0; k < 3; ++k) sum[k] += unit[k][i];
  }
  double length = std::sqrt(sum[0] * sum[0] + sum[1] * sum[1] + sum[2] * sum[2]);
  cone.everything = true;
  if (length < 1e-3) return cone;
  for (int k = 0; k < 3; ++k) cone.axis[k] = static_cast<float>(sum[k] / length);
  float cosine = 1.f;
  for (int i = 0; i < kRays; ++i)
    cosine = std::min(cosine, unit[0][i] * cone.axis[0] + unit[1][i] * cone.axis[1] + unit[2][i] * cone.axis[2]);
  if (cosine < 0.05f) return cone;
  cone.cosine = cosine - 1e-5f;
  cone.sine = std::sqrt(std::max(0.f, 1.f - cone.cosine * cone.cosine));
  cone.everything = false;
  return cone;
}

struct Candidate {
  float nearest;  // lower bound of the distance from the apex
  int32_t id;
};

// Primitives whose bounding spheres meet the cone within `reach` of its apex, nearest first.
void cull(const std::vector<Primitive>& primitives, const Cone& cone, float reach, std::vector<Candidate>* out) {
  out->clear();
  for (size_t i = 0; i < primitives.size(); ++i) {
    const Primitive& p = primitives[i];
    float v[3], squared = 0.f, along = 0.f;
    for (int k = 0; k < 3; ++k) {
      v[k] = p.center[k] - cone.apex[k];
      squared += v[k] * v[k];
      along += v[k] * cone.axis[k];
    }
    float distance = std::sqrt(squared);
    if (distance - p.radius > reach) continue;
    if (!cone.everything && distance > p.radius) {
      float across = std::sqrt(std::max(0.f, squared - along * along));
      if (across * cone.cosine - along * cone.sine > p.radius) continue;
    }
    out->push_back({distance - p.radius, static_cast<int32_t>(i)});
  }
  std::sort(out->begin(), out->end(), [](const Candidate& a, const Candidate& b) {
    return a.nearest < b.nearest || (a.nearest == b.nearest && a.id < b.id);
  });
}

// Nearest hit of every ray among the candidates, which come nearest first; `longest` ray direction turns parameters into metres.
void trace(const std::vector<Primitive>& primitives, const std::vector<Candidate>& candidates, float longest, Packet* packet) {
  V16 best[kVectors];
  I16 id[kVectors];
  for (int v = 0; v < kVectors; ++v) best[v] = splat(kInfinity), id[v] = splat_int(-1);
  float farthest = kInfinity;
  int tested = 0;
  for (const Candidate& candidate : candidates) {
    if (candidate.nearest > farthest * longest) break;
    const Primitive& p = primitives[candidate.id];
    for (int v = 0; v < kVectors; ++v) {
      V16 t = enter(p, packet->origin(v), packet->direction(v));
      I16 closer = t < best[v];
      best[v] = select(closer, t, best[v]);
      id[v] = select(closer, splat_int(candidate.id), id[v]);
    }
    if (++tested % 4 == 0) {  // the walls come first (their spheres hold the camera), then this bound gets tight
      V16 m = vmax(vmax(best[0], best[1]), vmax(best[2], best[3]));
      farthest = 0.f;
      for (int i = 0; i < kLanes; ++i) farthest = std::max(farthest, m[i]);
    }
  }
  for (int v = 0; v < kVectors; ++v) {
    store(packet->t + v * kLanes, best[v]);
    store(packet->id + v * kLanes, id[v]);
  }
}

// ---- Textures --------------------------------------------------------------------------------------------------------------

SW_INLINE V16 hash01(I16 x, I16 y, I16 z, I16 seed) {
  U16 n = as_unsigned(x) * 0x8DA6B343u + as_unsigned(y) * 0xD8163841u + as_unsigned(z) * 0xCB1AB31Fu + as_unsigned(seed) * 0x9E3779B1u;
  n = (n ^ (n >> 15)) * 0x2C1B3C6Du;
  n = (n ^ (n >> 12)) * 0x297A2D39u;
  n = n ^ (n >> 15);
  return to_float(as_int(n & 0xFFFFFFu)) * (1.f / 0x1000000);
}

V16 value_noise(V16 x, V16 y, V16 z, I16 seed) {
  V16 bx = vfloor(x), by = vfloor(y), bz = vfloor(z);
  V16 fx = x - bx, fy = y - by, fz = z - bz;
  V16 wx = fx * fx * (3.f - 2.f * fx), wy = fy * fy * (3.f - 2.f * fy), wz = fz * fz * (3.f - 2.f * fz);
  I16 ix = to_int(bx), iy = to_int(by), iz = to_int(bz);
  V16 plane[2];
  for (int dz = 0; dz < 2; ++dz) {
    V16 row[2];
    for (int dy = 0; dy < 2; ++dy) {
      V16 low = hash01(ix, iy + dy, iz + dz, seed), high = hash01(ix + 1, iy + dy, iz + dz, seed);
      row[dy] = low + wx * (high - low);
    }
    plane[dz] = row[0] + wy * (row[1] - row[0]);
  }
  return plane[0] + wz * (plane[1] - plane[0]);
}

// At z = 0 the upper lattice plane has weight 0, so only the lower one is computed.
V16 value_noise_flat(V16 x, V16 y, I16 seed) {
  V16 bx = vfloor(x), by = vfloor(y);
  V16 fx = x - bx, fy = y - by;
  V16 wx = fx * fx * (3.f - 2.f * fx), wy = fy * fy * (3.f - 2.f * fy);
  I16 ix = to_int(bx), iy = to_int(by), iz = splat_int(0);
  V16 row[2];
  for (int dy = 0; dy < 2; ++dy) {
    V16 low = hash01(ix, iy + dy, iz, seed), high = hash01(ix + 1, iy + dy, iz, seed);
    row[dy] = low + wx * (high - low);
  }
  return row[0] + wy * (row[1] - row[0]);
}

struct MaterialArrays {
  const int32_t *textures, *seeds;
  const float *colors, *feature_sizes, *contrasts, *grains, *emissions;
};

// Sixteen positions that are about to be coloured.
struct Surface {
  V3 local, half;
  V16 u, v, extent_u, extent_v, size, contrast, height_fraction;
  I16 seed;
  V3 first, second;
  V16 noise(V16 x, V16 y, int offset) const { return value_noise_flat(x, y, seed + offset); }
  V16 cell(V16 x, V16 y, int offset) const { return hash01(to_int(x), to_int(y), splat_int(offset), seed); }
};

SW_INLINE V16 mix(V16 a, V16 b, V16 k) { return a + k * (b - a); }
SW_INLINE V3 select3(I16 m, V3 a, V3 b) { return {select(m, a.x, b.x), select(m, a.y, b.y), select(m, a.z, b.z)}; }
SW_INLINE V3 scale3(V3 a, V16 k) { return {a.x * k, a.y * k, a.z * k}; }
SW_INLINE V16 odd(V16 x) {
  x = vfloor(x);
  return x - 2.f * vfloor(0.5f * x);
}

V16 pattern(int texture, const Surface& s) {
  const V16 one = splat(1.f), zero = splat(0.f);
  I16 wide = s.extent_u >= s.extent_v;
  V16 along = select(wide, s.u, s.v), across = select(wide, s.v, s.u);
  switch (texture) {
    case kStripes:
      return odd(s.u / s.size);
    case kWood: {
      V16 ring = across / s.size + 2.f * s.noise(along / (9.f * s.size), across / (3.f * s.size), 0);
      V16 wave = vabs(2.f * (ring - vfloor(ring)) - 1.f);
      V16 pores = s.noise(along / (4.f * s.size), across / (0.22f * s.size), 1);
      return 0.55f * wave + 0.45f * pores;
    }
    case kChecker:
      return odd(vfloor(s.u / s.size) + vfloor(s.v / s.size));
    case kNoise: {
      V16 x = s.local.x / s.size, y = s.local.y / s.size, z = s.local.z / s.size;
      return 0.5f * value_noise(x, y, z, s.seed) + 0.3f * value_noise(2.3f * x, 2.3f * y, 2.3f * z, s.seed + 1) +
             0.2f * value_noise(5.1f * x, 5.1f * y, 5.1f * z, s.seed + 2);
    }
    case kTiles: {
      V16 column = vfloor(s.u / s.size), row = vfloor(s.v / s.size);
      V16 x = s.u / s.size - column, y = s.v / s.size - row;
      return select(vmin(x, y) < splat(0.05f), one, 0.4f * s.cell(column, row, 3));
    }
    case kPlanks: {
      V16 row = vfloor(across / s.size);
      V16 place = along / (8.f * s.size) + s.cell(row, row, 4);
      V16 board = vfloor(place);
      I16 joint = (across / s.size - row < splat(0.06f)) | (place - board < splat(0.008f));
      V16 streak = s.noise(along / s.size + 17.f * board, across / (0.12f * s.size), 0);
      return select(joint, one, 0.45f * s.cell(board, row, 5) + 0.4f * streak);
    }
    case kLeaves: {
      V16 x = s.local.x / s.size, y = s.local.y / s.size, z = s.local.z / s.size;
      V16 tone = hash01(to_int(vfloor(1.9f * x)), to_int(vfloor(1.9f * y)), to_int(vfloor(1.9f * z)), s.seed);
      return 0.5f * value_noise(x, y, z, s.seed) + 0.5f * tone;
    }
    case kOrnament: {
      V16 x = s.u / s.size, y = s.v / s.size;
      V16 d = vabs(x - vfloor(x) - 0.5f) + vabs(y - vfloor(y) - 0.5f);
      I16 inside = (d < splat(0.2f)) | ((d > splat(0.34f)) & (d < splat(0.44f)));
      return select(inside, one, zero);
    }
    default:
      return zero;
  }
}

V3 paint(int texture, const Surface& s) {
  const V16 zero = splat(0.f), one = splat(1.f);
  switch (texture) {
    case kBooks: {
      V16 x = s.local.x / s.size, book = vfloor(x);
      V16 r = s.cell(book, zero, 1), g = s.cell(book, zero, 2), b = s.cell(book, zero, 3);
      V3 color = {0.03f + 0.6f * r * r, 0.03f + 0.6f * g * g, 0.03f + 0.6f * b * b};
      color = select3(s.cell(book, zero, 4) < splat(0.25f), s.first, color);
      V16 band = 0.55f + 0.3f * s.cell(book, zero, 5);
      V3 titled = {0.25f * color.x + 0.75f * s.second.x, 0.25f * color.y + 0.75f * s.second.y, 0.25f * color.z + 0.75f * s.second.z};
      color = select3(vabs(s.height_fraction - band) < splat(0.07f), titled, color);
      return select3(x - book < splat(0.14f), scale3(color, splat(0.25f)), color);
    }
    case kWindow: {
      V16 clouds = 0.6f * s.noise(s.u / s.size, 1.7f * s.v / s.size, 0) + 0.4f * s.noise(3.1f * s.u / s.size, 5.f * s.v / s.size, 1);
      V16 k = vmin(1.6f * vmax(clouds - 0.4f, zero), one);
      V3 sky = {mix(s.first.x, one, k), mix(s.first.y, one, k), mix(s.first.z, one, k)};
      V16 hill = 0.28f + 0.2f * s.noise(1.3f * s.u / s.size, zero, 2);
      V16 trees = s.noise(s.u / 0.045f, s.v / 0.045f, 3);
      return select3(s.height_fraction < hill, scale3(s.second, 0.45f + 0.8f * trees), sky);
    }
    case kScreen: {
      V16 line = vfloor(s.v / s.size), place = s.u / (0.55f * s.size), within = s.v / s.size - line;
      V16 length = (2.f * s.cell(line, zero, 6) - 0.9f) * s.extent_u;
      I16 text = (s.cell(vfloor(place), line, 7) > splat(0.35f)) & (within > splat(0.25f)) & (within < splat(0.75f)) & (s.u < length);
      V3 color = select3(text, s.second, s.first);
      V16 row = vfloor(s.v / (2.f * s.size));
      V3 block = {0.1f + 0.6f * s.cell(row, zero, 8), 0.1f + 0.6f * s.cell(row, zero, 9), 0.1f + 0.6f * s.cell(row, zero, 10)};
      color = select3(s.u > 0.62f * s.extent_u, block, color);
      V3 bar = {0.5f * (s.first.x + s.second.x), 0.5f * (s.first.y + s.second.y), 0.5f * (s.first.z + s.second.z)};
      return select3(s.height_fraction > splat(0.88f), bar, color);
    }
    default: {  // kPicture
      V16 column = vfloor(s.u / s.size), row = vfloor(s.v / s.size);
      V16 x = s.u / s.size - column - 0.5f, y = s.v / s.size - row - 0.5f;
      V16 chance = s.cell(column, row, 1);
      V16 r = s.cell(column, row, 2), g = s.cell(column, row, 3), b = s.cell(column, row, 4);
      V3 color = {0.02f + 0.75f * r * r, 0.02f + 0.75f * g * g, 0.02f + 0.75f * b * b};
      color = select3(chance < splat(0.7f), s.second, color);
      color = select3(chance < splat(0.35f), s.first, color);
      I16 disc = (x * x + y * y < splat(0.12f)) & (s.cell(column, row, 5) > splat(0.5f));
      V3 inverse = {0.85f - 0.8f * color.x, 0.85f - 0.8f * color.y, 0.85f - 0.8f * color.z};
      color = select3(disc, inverse, color);
      return scale3(color, 0.7f + 0.6f * s.noise(s.u / (0.5f * s.size), s.v / (0.08f * s.size), 6));
    }
  }
}

constexpr bool paints_itself(int texture) { return texture >= kBooks && texture <= kPicture; }

// Albedo of sixteen hits; lanes without a hit (primitive < 0) get the material of row 0 and are ignored by the caller.
V3 surface_colors(const std::vector<Primitive>& primitives, const MaterialArrays& m, const Hit* hits, int32_t* kinds) {
  enum { kLocal = 0, kHalf = 3, kFirst = 6, kSecond = 9, kSize = 12, kContrast, kGrain, kRows };
  alignas(64) float rows[kRows][kLanes];
  alignas(64) int32_t seeds[kLanes], faces[kLanes];
  for (int i = 0; i < kLanes; ++i) {
    const Hit& hit = hits[i];
    const Primitive& p = primitives[hit.primitive < 0 ? 0 : hit.primitive];
    int k = p.material;
    kinds[i] = hit.primitive < 0 ? -1 : m.textures[k];
    for (int c = 0; c < 3; ++c) {
      rows[kLocal + c][i] = hit.local[c], rows[kHalf + c][i] = p.half[c];
      rows[kFirst + c][i] = m.colors[6 * k + c], rows[kSecond + c][i] = m.colors[6 * k + 3 + c];
    }
    rows[kSize][i] = m.feature_sizes[k], rows[kContrast][i] = m.contrasts[k], rows[kGrain][i] = m.grains[k];
    seeds[i] = m.seeds[k], faces[i] = hit.face;
  }
  const auto row3 = [&](int row) { return V3{load(rows[row]), load(rows[row + 1]), load(rows[row + 2])}; };
  Surface s;
  s.local = row3(kLocal), s.half = row3(kHalf), s.first = row3(kFirst), s.second = row3(kSecond);
  s.size = load(rows[kSize]), s.contrast = load(rows[kContrast]), s.seed = load(seeds);
  const V16 grain = load(rows[kGrain]);
  const I16 face = load(faces);
  I16 axis = face >> 1, is_round = face == splat_int(kFaceRound), is_x = axis == splat_int(0), is_z = axis == splat_int(2);
  s.u = select(is_x, s.local.y, s.local.x);
  s.v = select(is_z, s.local.y, s.local.z);
  s.extent_u = select(is_round, splat(0.f), select(is_x, s.half.y, s.half.x));
  s.extent_v = select(is_z, s.half.y, s.half.z);
  alignas(64) float u[kLanes];
  store(u, s.u);
  for (int i = 0; i < kLanes; ++i)
    if (faces[i] == kFaceRound) {
      const float half_x = rows[kHalf][i], half_y = rows[kHalf + 1][i];
      u[i] = std::atan2(rows[kLocal + 1][i] / half_y, rows[kLocal][i] / half_x) * std::max(half_x, half_y);
    }
  s.u = load(u);
  s.height_fraction = 0.5f * (s.local.z / s.half.z + 1.f);
  V3 color = s.first;
  uint32_t seen = 0;
  for (int i = 0; i < kLanes; ++i)
    if (kinds[i] > kPlain) seen |= 1u << kinds[i];
  for (int texture = kStripes; seen >> texture; ++texture) {
    if (!(seen >> texture & 1u)) continue;
    const I16 here = load(kinds) == splat_int(texture);
    if (paints_itself(texture)) {
      color = select3(here, paint(texture, s), color);
    } else {
      V16 k = pattern(texture, s) * s.contrast;
      color = select3(here, {mix(s.first.x, s.second.x, k), mix(s.first.y, s.second.y, k), mix(s.first.z, s.second.z, k)}, color);
    }
  }
  constexpr float coarse = 1.f / 0.05f, fine = 1.f / 0.021f;
  V16 noise = 0.6f * value_noise(s.local.x * coarse, s.local.y * coarse, s.local.z * coarse, s.seed + 101) +
              0.4f * value_noise(s.local.x * fine, s.local.y * fine, s.local.z * fine, s.seed + 102);
  return scale3(color, 1.f + grain * (2.f * noise - 1.f));
}

// ---- Pictures --------------------------------------------------------------------------------------------------------------

// world_from_pixel (3×3) takes homogeneous pixel coordinates to directions with unit length along the camera's +Z.
struct View {
  float origin[3];
  double world_from_pixel[9];
  int64_t width, height;
};

struct Lights {
  float ambient, lamp[3], lamp_radius, lamp_strength, sun[3], sun_strength, tint[3];
};

// Lanes outside the picture repeat its last column or row, which keeps the tile's cone tight.
void aim(const View& view, int64_t column, int64_t row, double du, double dv, Packet* packet) {
  const double* m = view.world_from_pixel;
  for (int i = 0; i < kRays; ++i) {
    double u = static_cast<double>(std::min(column + i % kTile, view.width - 1)) + du;
    double v = static_cast<double>(std::min(row + i / kTile, view.height - 1)) + dv;
    packet->ox[i] = view.origin[0], packet->oy[i] = view.origin[1], packet->oz[i] = view.origin[2];
    packet->dx[i] = static_cast<float>(m[0] * u + m[1] * v + m[2]);
    packet->dy[i] = static_cast<float>(m[3] * u + m[4] * v + m[5]);
    packet->dz[i] = static_cast<float>(m[6] * u + m[7] * v + m[8]);
  }
}

float longest_direction(const Packet& packet) {
  float longest = 0.f;
  for (int i = 0; i < kRays; ++i)
    longest = std::max(longest, packet.dx[i] * packet.dx[i] + packet.dy[i] * packet.dy[i] + packet.dz[i] * packet.dz[i]);
  return std::sqrt(longest);
}

// Rays from surface points to the lamp: fills `visible` with 1 where nothing is in between.
void light_up(const std::vector<Primitive>& primitives, const float* lamp, const Packet& shadow, const int32_t* wanted,
              std::vector<Candidate>* candidates, float* visible) {
  Cone cone = cone_around(lamp, shadow, -1.f);
  float reach = longest_direction(shadow);
  cull(primitives, cone, reach, candidates);
  V16 open[kVectors];
  for (int v = 0; v < kVectors; ++v) open[v] = select(load(wanted + v * kLanes) != splat_int(0), splat(1.f), splat(0.f));
  for (const Candidate& candidate : *candidates) {
    const Primitive& p = primitives[candidate.id];
    for (int v = 0; v < kVectors; ++v) {
      V16 t = enter(p, shadow.origin(v), shadow.direction(v));
      open[v] = select(t < splat(1.f), splat(0.f), open[v]);
    }
  }
  for (int v = 0; v < kVectors; ++v) store(visible + v * kLanes, open[v]);
}

struct Tracer {
  std::vector<Primitive> primitives;
  MaterialArrays materials;
  Lights lights;
  View view;

  // Adds the linear colours of one packet of rays to sum[kRays][3].
  void shade(const Packet& packet, const float* lamp, std::vector<Candidate>* candidates, float* sum) const {
    Hit hits[kRays];
    Packet shadow;
    alignas(64) float cosine[kRays], distance[kRays], visible[kRays];
    int32_t wanted[kRays];
    for (int i = 0; i < kRays; ++i) {
      Hit& hit = hits[i];
      hit = Hit{packet.t[i], packet.id[i], 0, {0.f, 0.f, 0.f}, {0.f, 0.f, 0.f}};
      float o[3] = {packet.ox[i], packet.oy[i], packet.oz[i]}, d[3] = {packet.dx[i], packet.dy[i], packet.dz[i]};
      float to_lamp[3] = {0.f, 0.f, 0.f}, start[3] = {lamp[0], lamp[1], lamp[2]}, squared = 0.f, product = 0.f;
      if (hit.primitive >= 0) {
        describe(primitives[hit.primitive], o, d, &hit);
        for (int k = 0; k < 3; ++k) {
          float point = o[k] + hit.t * d[k];
          to_lamp[k] = lamp[k] - point;
          squared += to_lamp[k] * to_lamp[k];
          product += to_lamp[k] * hit.normal[k];
          start[k] = point + kShadowOffset * hit.normal[k];
        }
      }
      distance[i] = std::max(std::sqrt(squared), 1e-6f);
      cosine[i] = std::max(product / distance[i], 0.f);
      wanted[i] = cosine[i] > 0.f;
      shadow.ox[i] = start[0], shadow.oy[i] = start[1], shadow.oz[i] = start[2];
      shadow.dx[i] = lamp[0] - start[0], shadow.dy[i] = lamp[1] - start[1], shadow.dz[i] = lamp[2] - start[2];
    }
    // Rays that need no shadow test copy one that does, so that they do not widen the cone.
    int donor = -1;
    for (int i = 0; i < kRays && donor < 0; ++i)
      if (wanted[i]) donor = i;
    if (donor >= 0) {
      for (int i = 0; i < kRays; ++i) {
        if (wanted[i]) continue;
        shadow.ox[i] = shadow.ox[donor], shadow.oy[i] = shadow.oy[donor], shadow.oz[i] = shadow.oz[donor];
        shadow.dx[i] = shadow.dx[donor], shadow.dy[i] = shadow.dy[donor], shadow.dz[i] = shadow.dz[donor];
      }
      light_up(primitives, lamp, shadow, wanted, candidates, visible);
    } else {
      std::memset(visible, 0, sizeof visible);
    }
    for (int v = 0; v < kVectors; ++v) {
      int32_t kinds[kLanes];
      V3 albedo = surface_colors(primitives, materials, hits + v * kLanes, kinds);
      for (int lane = 0; lane < kLanes; ++lane) {
        int i = v * kLanes + lane;
        if (kinds[lane] < 0) continue;
        const Hit& hit = hits[i];
        float emission = materials.emissions[primitives[hit.primitive].material];
        float direct = lights.lamp_strength * cosine[i] / (1.f + 0.1f * distance[i] * distance[i]) * visible[i];
        float facing_sun = hit.normal[0] * lights.sun[0] + hit.normal[1] * lights.sun[1] + hit.normal[2] * lights.sun[2];
        float irradiance = lights.ambient * (0.9f + 0.1f * hit.normal[2]) + direct + lights.sun_strength * std::max(facing_sun, 0.f);
        float brightness = irradiance * (1.f - emission) + emission;
        sum[3 * i] += albedo.x[lane] * brightness * lights.tint[0];
        sum[3 * i + 1] += albedo.y[lane] * brightness * lights.tint[1];
        sum[3 * i + 2] += albedo.z[lane] * brightness * lights.tint[2];
      }
    }
  }

  void photograph(int64_t column, int64_t row, int samples, uint8_t* image) const {
    float sum[3 * kRays] = {};
    Packet packet;
    std::vector<Candidate> candidates;
    for (int sample = 0; sample < samples * samples; ++sample) {
      double du = (sample % samples + 0.5) / samples, dv = (sample / samples + 0.5) / samples;
      aim(view, column, row, du, dv, &packet);
      cull(primitives, cone_around(view.origin, packet, 1.f), kInfinity, &candidates);
      trace(primitives, candidates, longest_direction(packet), &packet);
      float lamp[3] = {static_cast<float>(lights.lamp[0] + (2. * du - 1.) * lights.lamp_radius),
                       static_cast<float>(lights.lamp[1] + (2. * dv - 1.) * lights.lamp_radius), lights.lamp[2]};
      shade(packet, lamp, &candidates, sum);
    }
    float share = 1.f / static_cast<float>(samples * samples);
    for (int i = 0; i < kRays; ++i) {
      int64_t u = column + i % kTile, v = row + i / kTile;
      if (u >= view.width || v >= view.height) continue;
      for (int k = 0; k < 3; ++k) {
        float mean = std::min(std::max(sum[3 * i + k] * share, 0.f), 1.f);
        image[3 * (v * view.width + u) + k] = static_cast<uint8_t>(std::sqrt(mean) * 255.f + 0.5f);
      }
    }
  }

  void map(int64_t column, int64_t row, float* depth, int32_t* ids) const {
    Packet packet;
    std::vector<Candidate> candidates;
    aim(view, column, row, 0.5, 0.5, &packet);
    cull(primitives, cone_around(view.origin, packet, 1.f), kInfinity, &candidates);
    trace(primitives, candidates, longest_direction(packet), &packet);
    for (int i = 0; i < kRays; ++i) {
      int64_t u = column + i % kTile, v = row + i / kTile;
      if (u >= view.width || v >= view.height) continue;
      ids[v * view.width + u] = packet.id[i];
      depth[v * view.width + u] = packet.id[i] < 0 ? 0.f : packet.t[i];
    }
  }
};

void for_each_tile(const View& view, const std::function<void(int64_t, int64_t)>& fn) {
  int64_t columns = (view.width + kTile - 1) / kTile, rows = (view.height + kTile - 1) / kTile;
  parallel_for(rows, [&](int64_t row) {
    for (int64_t column = 0; column < columns; ++column) fn(column * kTile, row * kTile);
  });
}

View make_view(const float* origin, const double* world_from_pixel, int64_t width, int64_t height) {
  View view;
  std::memcpy(view.origin, origin, sizeof view.origin);
  std::memcpy(view.world_from_pixel, world_from_pixel, sizeof view.world_from_pixel);
  view.width = width;
  view.height = height;
  return view;
}

}  // namespace
}  // namespace sw

// Nearest hits of any rays.  Outputs are [rays] or [rays, 3]; +inf, −1 and zeros where nothing is hit.
SW_EXPORT void sw_cast_rays(int64_t n, const int32_t* shapes, const float* centers, const float* half_sizes, const float* yaw,
                            const float* end_scales, const int32_t* material_ids, int64_t rays, const float* origins,
                            const float* directions, float* distances, int32_t* ids, float* normals, float* locals, int32_t* faces) {
  using namespace sw;
  std::vector<Primitive> primitives = unpack({n, shapes, centers, half_sizes, yaw, end_scales, material_ids});
  std::vector<Candidate> all;
  for (int64_t i = 0; i < n; ++i) all.push_back({-kInfinity, static_cast<int32_t>(i)});
  parallel_ranges(rays, kRays, [&](int64_t begin, int64_t end) {
    Packet packet;
    for (int i = 0; i < kRays; ++i) {
      int64_t r = std::min(begin + i, end - 1);
      packet.ox[i] = origins[3 * r], packet.oy[i] = origins[3 * r + 1], packet.oz[i] = origins[3 * r + 2];
      packet.dx[i] = directions[3 * r], packet.dy[i] = directions[3 * r + 1], packet.dz[i] = directions[3 * r + 2];
    }
    trace(primitives, all, 1.f, &packet);
    for (int64_t r = begin; r < end; ++r) {
      Hit hit{packet.t[r - begin], packet.id[r - begin], -1, {0.f, 0.f, 0.f}, {0.f, 0.f, 0.f}};
      if (hit.primitive >= 0) describe(primitives[hit.primitive], origins + 3 * r, directions + 3 * r, &hit);
      distances[r] = hit.t;
      ids[r] = hit.primitive;
      faces[r] = hit.face;
      std::memcpy(normals + 3 * r, hit.normal, sizeof hit.normal);
      std::memcpy(locals + 3 * r, hit.local, sizeof hit.local);
    }
  });
}

// Depth along +Z and primitive at pixel centres.
SW_EXPORT void sw_surface_maps(int64_t n, const int32_t* shapes, const float* centers, const float* half_sizes, const float* yaw,
                               const float* end_scales, const int32_t* material_ids, const float* origin,
                               const double* world_from_pixel, int64_t width, int64_t height, float* depth, int32_t* ids) {
  using namespace sw;
  Tracer tracer;
  tracer.primitives = unpack({n, shapes, centers, half_sizes, yaw, end_scales, material_ids});
  tracer.view = make_view(origin, world_from_pixel, width, height);
  for_each_tile(tracer.view, [&](int64_t column, int64_t row) { tracer.map(column, row, depth, ids); });
}

// lights: ambient, lamp xyz, lamp radius, lamp strength, sun xyz, sun strength, tint rgb (13 numbers).
SW_EXPORT void sw_photograph(int64_t n, const int32_t* shapes, const float* centers, const float* half_sizes, const float* yaw,
                             const float* end_scales, const int32_t* material_ids, const int32_t* textures, const int32_t* seeds,
                             const float* colors, const float* feature_sizes, const float* contrasts, const float* grains,
                             const float* emissions, const float* lights, const float* origin, const double* world_from_pixel,
                             int64_t width, int64_t height, int samples, uint8_t* image) {
  using namespace sw;
  Tracer tracer;
  tracer.primitives = unpack({n, shapes, centers, half_sizes, yaw, end_scales, material_ids});
  tracer.materials = {textures, seeds, colors, feature_sizes, contrasts, grains, emissions};
  std::memcpy(&tracer.lights, lights, sizeof tracer.lights);
  static_assert(sizeof(Lights) == 13 * sizeof(float), "Lights is thirteen packed floats");
  tracer.view = make_view(origin, world_from_pixel, width, height);
  for_each_tile(tracer.view, [&](int64_t column, int64_t row) { tracer.photograph(column, row, samples, image); });
}
