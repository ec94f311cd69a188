#include <lightning/ops/detail/kernels.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define LIGHTNING_LANES 2

namespace lightning::ops::detail {
namespace baseline {

#include <lightning/ops/detail/kernels-inl.h>

}  // namespace baseline

const Kernels kBaselineKernels = {"baseline", baseline::typed_kernels<float>(),
                                  baseline::typed_kernels<Bf16>()};

}  // namespace lightning::ops::detail
