#include <lightning/loops/pending_gradients.h>

#include <string>

#include <ATen/ATen.h>
#include <torch/optim/optimizer.h>

#include <lightning/optim/parameter_groups.h>
#include <lightning/util/error.h>

namespace lightning {
namespace {

/// Calls visit(name, parameter) for all whose gradients are pending.
template <typename Visit>
void for_each_pending(const RunState& run, const Visit& visit) {
  const optim::ParameterNames names(*run.context.module);
  const auto& pending = run.progress.pending_gradients;
  for (size_t i = 0; i < pending.size() && i < run.context.optimizers.size(); ++i) {
    if (pending[i] == PendingGradients::kNone) continue;
    for (const auto& group : run.context.optimizers[i].optimizer->param_groups()) {
      for (const at::Tensor& parameter : group.params()) {
        const std::string* name = names.find(parameter);
        if (name != nullptr) visit(*name, parameter);
      }
    }
  }
}

}  // namespace

StateDict pending_gradients(const RunState& run) {
  StateDict gradients;
  for_each_pending(run, [&](const std::string& name, const at::Tensor& parameter) {
    if (parameter.grad().defined()) gradients.set(name, parameter.grad());
  });
  return gradients;
}

void restore_pending_gradients(RunState& run, const StateDict& ranks) {
  const at::NoGradGuard no_grad;
  const auto saved = static_cast<int64_t>(ranks.top_level_names().size());
  const bool same_ranks = saved == run.context.world_size();
  for_each_pending(run, [&](const std::string& name, const at::Tensor& parameter) {
    at::Tensor sum;
    for (int64_t rank = 0; rank < saved; ++rank) {
      if (same_ranks && rank != run.context.strategy->global_rank()) continue;
      const StateDict gradients = ranks.nested(detail::concat(rank, "/gradients"));
      if (!gradients.contains(name)) continue;
      const auto& gradient = gradients.get<at::Tensor>(name);
      LIGHTNING_CHECK(gradient.sizes() == parameter.sizes() &&
                          gradient.scalar_type() == parameter.scalar_type(),
                      CheckpointError, "gradients: the checkpoint has ", gradient.scalar_type(),
                      " ", gradient.sizes(), " for parameter ", name, ", expected ",
                      parameter.scalar_type(), " ", parameter.sizes(),
                      ". HINT: resume from a different checkpoint.");
      sum = sum.defined() ? sum + gradient : gradient.clone();
    }
    if (!sum.defined()) return;
    if (!same_ranks) sum /= saved;
    parameter.mutable_grad() = sum.to(parameter.device());
  });
}

}  // namespace lightning
