#include <lightning/nn/detail/kernels.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define LIGHTNING_LANES 2

namespace lightning::nn::detail {
namespace baseline {

#include <lightning/nn/detail/kernels-inl.h>

}  // namespace baseline

const Kernels kBaselineKernels = {"baseline", baseline::typed_kernels<float>(),
                                  baseline::typed_kernels<Bf16>()};

}  // namespace lightning::nn::detail
