#include <lightning/ops/detail/kernels.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if defined(__x86_64__)
#pragma GCC target("arch=x86-64-v4,prefer-vector-width=512")
#define LIGHTNING_LANES 8
#else
#define LIGHTNING_LANES 2
#endif

namespace lightning::ops::detail {
namespace avx512 {

#include <lightning/ops/detail/kernels-inl.h>

}  // namespace avx512

const Kernels kAvx512Kernels = {"avx512", avx512::typed_kernels<float>(),
                                avx512::typed_kernels<Bf16>()};

}  // namespace lightning::ops::detail
