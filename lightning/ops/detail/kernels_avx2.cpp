#include <lightning/ops/detail/kernels.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if defined(__x86_64__)
#pragma GCC target("arch=x86-64-v3")
#define LIGHTNING_LANES 4
#else
#define LIGHTNING_LANES 2
#endif

namespace lightning::ops::detail {
namespace avx2 {

#include <lightning/ops/detail/kernels-inl.h>

}  // namespace avx2

const Kernels kAvx2Kernels = {"avx2", avx2::typed_kernels<float>(), avx2::typed_kernels<Bf16>()};

}  // namespace lightning::ops::detail
