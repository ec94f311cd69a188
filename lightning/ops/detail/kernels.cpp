#include <lightning/ops/detail/kernels.h>

namespace lightning::ops::detail {

bool supported(const Kernels& set) {
#if defined(__x86_64__)
  if (&set == &kAvx512Kernels) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && supported(kAvx2Kernels);
  }
  if (&set == &kAvx2Kernels) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
           __builtin_cpu_supports("f16c") && __builtin_cpu_supports("lzcnt");
  }
#endif
  return true;
}

const Kernels& kernels() {
  static const Kernels& best = supported(kAvx512Kernels) ? kAvx512Kernels
                               : supported(kAvx2Kernels) ? kAvx2Kernels
                                                         : kBaselineKernels;
  return best;
}

}  // namespace lightning::ops::detail
