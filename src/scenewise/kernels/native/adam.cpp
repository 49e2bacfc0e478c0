// Adam in one pass over memory.
#include "common.h"

namespace sw {
namespace {

constexpr int64_t kGrain = 1 << 14;

}  // namespace
}  // namespace sw

// `rate` is already divided by 1 − β₁ᵗ; `root_correction` is 1 / (1 − β₂ᵗ).
SW_EXPORT void sw_adam(int64_t n, float* parameter, const float* gradient, float* first, float* second, float rate, float beta1,
                       float beta2, float root_correction, float epsilon) {
  const float take1 = 1.0f - beta1, take2 = 1.0f - beta2;
  sw::parallel_ranges(n, sw::kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float g = gradient[i];
      const float m = first[i] = beta1 * first[i] + take1 * g;
      const float v = second[i] = beta2 * second[i] + take2 * g * g;
      parameter[i] -= rate * m / (std::sqrt(v * root_correction) + epsilon);
    }
  });
}
