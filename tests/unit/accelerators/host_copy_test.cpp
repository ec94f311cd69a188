#include <lightning/accelerators/detail/host_copy.h>

#include <torch/torch.h>
#include <catch2/catch.hpp>

#include <lightning/accelerators/accelerator.h>

#include "support/skip.h"

using lightning::HostCopy;

TEST_CASE("HostCopy brings values of any number type as float64", "[accelerators]") {
  CHECK(HostCopy(torch::tensor({1.5F, 2.5F})).values() == std::vector<double>{1.5, 2.5});
  CHECK(HostCopy(torch::tensor({int64_t{3}, int64_t{4}})).values() == std::vector<double>{3, 4});
  CHECK(HostCopy(torch::tensor(true)).values() == std::vector<double>{1});
  CHECK(HostCopy(torch::ones({0})).values().empty());
  const at::Tensor transposed = torch::arange(4, torch::kFloat).view({2, 2}).t();
  CHECK(HostCopy(transposed).values() == std::vector<double>{0, 2, 1, 3});
}

TEST_CASE("HostCopy keeps the values of the moment", "[accelerators]") {
  at::Tensor values = torch::ones({2}, torch::kDouble).requires_grad_();
  const HostCopy copy(values);
  CHECK(copy.ready());
  torch::NoGradGuard no_grad;
  values.zero_();
  CHECK(copy.values() == std::vector<double>{1, 1});
}

TEST_CASE("HostCopy can be moved", "[accelerators]") {
  HostCopy first(torch::ones({2}));
  HostCopy second(std::move(first));
  CHECK(second.values().size() == 2);
}

TEST_CASE("HostCopy from a GPU arrives without being waited for", "[accelerators]") {
  if (lightning::num_gpus() == 0) SKIP_WITHOUT_GPU("this process sees no GPU");
  const at::Tensor values = torch::arange(1000, torch::device(torch::kCUDA));
  const HostCopy copy(values);
  while (!copy.ready()) {
  }
  CHECK(copy.values()[999] == 999.0);
}
