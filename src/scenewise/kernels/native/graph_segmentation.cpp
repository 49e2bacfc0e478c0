// Felzenszwalb's graph segmentation.  One walk over sorted edges cannot be split among threads: every merge changes the next test.
#include "common.h"

namespace sw {
namespace {

struct Forest {
  int32_t* parents;
  int32_t* sizes;

  int32_t root(int64_t vertex) const {
    int32_t v = static_cast<int32_t>(vertex);
    while (parents[v] != v) {
      parents[v] = parents[parents[v]];
      v = parents[v];
    }
    return v;
  }
  int32_t merge(int32_t a, int32_t b) const {
    const bool swap = sizes[a] < sizes[b];
    const int32_t large = swap ? b : a, small = swap ? a : b;
    parents[small] = large;
    sizes[large] += sizes[small];
    return large;
  }
};

}  // namespace
}  // namespace sw

// `edges` [m, 2] and `weights` [m] in ascending order of weight.  `parents`, `sizes` and `limits` [n] are scratch; `labels` [n] out.
SW_EXPORT void sw_segment_graph(int64_t n, int64_t m, const int64_t* edges, const double* weights, double k, int64_t min_size,
                                int32_t* parents, int32_t* sizes, double* limits, int32_t* labels) {
  const sw::Forest forest{parents, sizes};
  for (int64_t v = 0; v < n; ++v) {
    parents[v] = static_cast<int32_t>(v);
    sizes[v] = 1;
    limits[v] = k;
  }
  for (int64_t e = 0; e < m; ++e) {
    const int32_t a = forest.root(edges[2 * e]), b = forest.root(edges[2 * e + 1]);
    const double w = weights[e];
    if (a != b && w <= limits[a] && w <= limits[b]) {
      const int32_t merged = forest.merge(a, b);
      limits[merged] = w + k / sizes[merged];
    }
  }
  for (int64_t e = 0; e < m; ++e) {
    const int32_t a = forest.root(edges[2 * e]), b = forest.root(edges[2 * e + 1]);
    if (a != b && (sizes[a] < min_size || sizes[b] < min_size)) forest.merge(a, b);
  }
  // The scratch of sizes becomes the number of each root, given out in the order of first vertices.
  for (int64_t v = 0; v < n; ++v) sizes[v] = -1;
  int32_t count = 0;
  for (int64_t v = 0; v < n; ++v) {
    const int32_t r = forest.root(v);
    if (sizes[r] < 0) sizes[r] = count++;
    labels[v] = sizes[r];
  }
}
