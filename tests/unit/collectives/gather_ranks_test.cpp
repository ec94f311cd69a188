// Ranks are threads.
#include <lightning/collectives/detail/gather_ranks.h>

#include <stdexcept>
#include <string>

#include <torch/torch.h>
#include <catch2/catch.hpp>

#include "support/thread_ranks.h"

namespace {

using lightning::gather_ranks;
using lightning::ProcessGroup;
using lightning::ProcessGroupBackend;

// Catch2's assertions are for one thread; ranks report by this.
void expect(bool condition, const std::string& what) {
  if (!condition) throw std::runtime_error("expected: " + what);
}

}  // namespace

TEST_CASE("gather_ranks stacks the tensors of all ranks") {
  const auto backend = GENERATE(ProcessGroupBackend::kGloo, ProcessGroupBackend::kSharedMemory);
  lightning_tests::run_ranks(3, [&](const auto& control) {
    const auto group = ProcessGroup::create(control, at::kCPU, backend);
    // Not contiguous, with a graph.
    const at::Tensor own =
        torch::arange(6, torch::kDouble).view({2, 3}).t().add(10.0 * control->rank());
    const at::Tensor all = gather_ranks(group, own.detach().requires_grad_(), false);
    expect(all.sizes() == at::IntArrayRef({3, 3, 2}), "[ranks, 3, 2]");
    expect(!all.requires_grad(), "no graph");
    for (int64_t rank = 0; rank < 3; ++rank) {
      expect(torch::equal(all[rank], own + 10.0 * (rank - control->rank())), "row by rank");
    }
    const at::Tensor scalars = gather_ranks(group, torch::tensor(control->rank()), false);
    expect(torch::equal(scalars, torch::arange(3)), "[ranks] from scalars");
    control->barrier("end");
  });
}

TEST_CASE("gather_ranks with sync_grads sums the gradients of all ranks") {
  const auto backend = GENERATE(ProcessGroupBackend::kGloo, ProcessGroupBackend::kSharedMemory);
  lightning_tests::run_ranks(3, [&](const auto& control) {
    const auto group = ProcessGroup::create(control, at::kCPU, backend);
    const int64_t rank = control->rank();
    const at::Tensor own = torch::full({2}, rank + 1.0, torch::kDouble).requires_grad_();
    const at::Tensor all = gather_ranks(group, own, true);
    // On rank r: (r + 1) * sum over q of (q + 1) * x_q^2; the sum over r has the factor 6.
    const at::Tensor factors = torch::arange(1, 4, torch::kDouble).view({3, 1});
    ((rank + 1.0) * (factors * all.square()).sum()).backward();
    const double expected = 6.0 * (rank + 1.0) * 2.0 * (rank + 1.0);
    expect(torch::equal(own.grad(), torch::full({2}, expected, torch::kDouble)),
           "the sum of the gradients, " + std::to_string(expected));
    {
      const torch::NoGradGuard no_grad;
      expect(!gather_ranks(group, own, true).requires_grad(), "no graph without grad mode");
    }
    control->barrier("end");
  });
}

TEST_CASE("gather_ranks without a group adds a dimension") {
  const at::Tensor own = torch::ones({2}).requires_grad_();
  CHECK_FALSE(gather_ranks(nullptr, own, false).requires_grad());
  gather_ranks(nullptr, own, true).sum().backward();
  CHECK(torch::equal(own.grad(), torch::ones({2})));
}
