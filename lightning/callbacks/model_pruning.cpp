#include <lightning/callbacks/model_pruning.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>

#include <lightning/util/error.h>
#include <lightning/util/format.h>
#include <lightning/util/log.h>

namespace lightning {
namespace {

bool is_part(double amount) { return amount >= 0.0 && amount <= 1.0; }

}  // namespace

ModelPruning::ModelPruning(ModelPruningOptions options, std::function<double(int64_t)> amount)
    : options_(std::move(options)), amount_(std::move(amount)) {
  LIGHTNING_CHECK(is_part(options_.amount), ConfigError, "ModelPruning: amount is ",
                  options_.amount, ", expected a part of the weights in [0, 1].");
  LIGHTNING_CHECK(!options_.parameter_names.empty(), ConfigError,
                  "ModelPruning: parameter_names is empty, expected names such as weight.");
  LIGHTNING_CHECK(options_.verbose >= 0 && options_.verbose <= 2, ConfigError,
                  "ModelPruning: verbose is ", options_.verbose, ", expected 0, 1 or 2.");
}

void ModelPruning::setup(TrainerContext& trainer, LightningModule&, Stage stage) {
  if (stage != Stage::kFit) return;
  if (!amount_ && options_.amount == 0.0 && trainer.is_global_zero()) {
    log_warning(
        "ModelPruning: amount is 0, so nothing is pruned. HINT: set the part of the weights to "
        "prune, such as 0.5, or remove the callback.");
  }
  pruned_.clear();
  restored_ = {};
}

void ModelPruning::on_fit_start(TrainerContext&, LightningModule& module) {
  // Not in setup(): there the weights of ranks may differ and aren't on the run's device yet.
  collect(module);
  LIGHTNING_CHECK(!pruned_.empty(), ConfigError,
                  "ModelPruning: no submodule has a parameter of parameter_names, expected at "
                  "least one. HINT: check modules and parameter_names.");
  if (!restored_.empty()) restore(std::exchange(restored_, {}));
}

void ModelPruning::collect(LightningModule& module) {
  const auto& wanted = options_.modules;
  std::vector<std::string> unknown = wanted;
  const auto submodules = module.named_modules({}, /*include_self=*/false);
  for (const std::string& name : options_.parameter_names) {
    for (const auto& item : submodules) {
      const bool is_wanted =
          wanted.empty() || std::find(wanted.begin(), wanted.end(), item.key()) != wanted.end();
      if (!is_wanted) continue;
      std::erase(unknown, item.key());
      const auto own = item.value()->named_parameters(/*recurse=*/false);
      const at::Tensor* parameter = own.find(name);
      if (parameter == nullptr || !parameter->defined()) continue;
      const bool is_tied = std::any_of(pruned_.begin(), pruned_.end(), [&](const Pruned& one) {
        return one.parameter.is_same(*parameter);
      });
      if (is_tied) continue;
      at::Tensor first;
      if (options_.use_lottery_ticket_hypothesis) first = parameter->detach().clone();
      pruned_.push_back({detail::concat(item.key(), ".", name), *parameter, {}, std::move(first)});
    }
  }
  LIGHTNING_CHECK(unknown.empty(), ConfigError, "ModelPruning: modules has \"", unknown.front(),
                  "\" and the module has no such submodule. HINT: write its path, such as net.0.");
}

void ModelPruning::on_train_epoch_end(TrainerContext& trainer, LightningModule&) {
  if (!options_.prune_on_train_epoch_end) return;
  // A run that resumes from an epoch that was cut short continues in its middle, unpruned.
  if (trainer.epoch_completed()) prune(trainer);
}

void ModelPruning::on_validation_end(TrainerContext& trainer, LightningModule&) {
  if (trainer.stage() != Stage::kFit || trainer.sanity_checking()) return;
  if (!options_.prune_on_train_epoch_end) prune(trainer);
}

void ModelPruning::prune(TrainerContext& trainer) {
  const int64_t epoch = trainer.current_epoch();
  const double amount = amount_ ? amount_(epoch) : options_.amount;
  LIGHTNING_CHECK(is_part(amount), ConfigError, "ModelPruning: the amount of epoch ", epoch, " is ",
                  amount, ", expected a part of the weights in [0, 1].");
  if (amount == 0.0) return;
  const at::NoGradGuard no_grad;
  for (Pruned& one : pruned_) {
    if (!one.mask.defined()) one.mask = at::ones_like(one.parameter);
  }
  if (options_.use_global_unstructured) {
    prune_together(amount);
  } else {
    for (Pruned& one : pruned_) {
      one.mask = shrink(one.mask.flatten(), one.parameter.flatten(), amount).view_as(one.parameter);
    }
  }
  if (options_.pruning_fn == PruningMethod::kRandomUnstructured) share_masks(trainer);
  if (options_.use_lottery_ticket_hypothesis) {
    for (Pruned& one : pruned_) one.parameter.copy_(one.first);
  }
  apply_masks();
  report();
}

void ModelPruning::prune_together(double amount) {
  std::vector<at::Tensor> masks;
  std::vector<at::Tensor> weights;
  for (const Pruned& one : pruned_) {
    masks.push_back(one.mask.flatten());
    weights.push_back(one.parameter.flatten());
  }
  const at::Tensor mask = shrink(at::cat(masks), at::cat(weights), amount);
  int64_t begin = 0;
  for (Pruned& one : pruned_) {
    const int64_t end = begin + one.parameter.numel();
    one.mask = mask.slice(0, begin, end).view_as(one.parameter).to(one.parameter.scalar_type());
    begin = end;
  }
}

at::Tensor ModelPruning::shrink(const at::Tensor& mask, const at::Tensor& weights,
                                double amount) const {
  const at::Tensor left = mask.nonzero().flatten();
  // PyTorch rounds halves to even.
  const auto count =
      static_cast<int64_t>(std::nearbyint(amount * static_cast<double>(left.numel())));
  const bool by_size = options_.pruning_fn == PruningMethod::kL1Unstructured;
  const at::Tensor candidates = weights.index_select(0, left);
  const at::Tensor scores = by_size ? candidates.abs() : at::rand_like(candidates);
  const at::Tensor chosen = std::get<1>(at::topk(scores, count, /*dim=*/-1, /*largest=*/!by_size));
  return mask.index_fill(0, left.index_select(0, chosen), 0.0);
}

void ModelPruning::share_masks(TrainerContext& trainer) {
  if (trainer.world_size() == 1) return;
  StateDict own;
  for (size_t i = 0; i < pruned_.size(); ++i) own.set(std::to_string(i), pruned_[i].mask);
  const StateDict of_zero = trainer.all_gather("masks of pruning", own)[0];
  for (size_t i = 0; i < pruned_.size(); ++i) {
    pruned_[i].mask = of_zero.get<at::Tensor>(std::to_string(i)).to(pruned_[i].parameter.device());
  }
}

void ModelPruning::apply_masks() {
  const at::NoGradGuard no_grad;
  for (Pruned& one : pruned_) {
    if (one.mask.defined()) one.parameter.mul_(one.mask);
  }
}

void ModelPruning::on_before_optimizer_step(TrainerContext&, LightningModule&,
                                            torch::optim::Optimizer&) {
  const at::NoGradGuard no_grad;
  for (const Pruned& one : pruned_) {
    const at::Tensor& gradient = one.parameter.grad();
    if (one.mask.defined() && gradient.defined()) gradient.mul_(one.mask);
  }
}

void ModelPruning::on_after_optimizer_step(TrainerContext&, LightningModule&,
                                           const OptimizerStep&) {
  // Momentum of before the pruning still moves them.
  apply_masks();
}

void ModelPruning::on_train_end(TrainerContext&, LightningModule&) {
  if (!options_.make_pruning_permanent) return;
  for (Pruned& one : pruned_) one.mask = at::Tensor();
}

at::Tensor ModelPruning::mask(const std::string& parameter) const {
  for (const Pruned& one : pruned_) {
    if (one.name == parameter) return one.mask;
  }
  return {};
}

double ModelPruning::sparsity() const {
  double zeros = 0.0;
  double all = 0.0;
  for (const Pruned& one : pruned_) {
    all += static_cast<double>(one.parameter.numel());
    if (one.mask.defined()) zeros += (one.mask == 0).sum().item<double>();
  }
  return all == 0.0 ? 0.0 : zeros / all;
}

void ModelPruning::report() const {
  if (options_.verbose == 0) return;
  log_info(format("ModelPruning: {:.2f}% of the weights are pruned.", 100.0 * sparsity()));
  if (options_.verbose < 2) return;
  for (const Pruned& one : pruned_) {
    const auto zeros = (one.mask == 0).sum().item<int64_t>();
    log_info(format("ModelPruning: {}: {} of {}.", one.name, zeros, one.parameter.numel()));
  }
}

StateDict ModelPruning::state_dict() const {
  StateDict state;
  if (pruned_.empty()) return state;
  std::vector<std::string> names;
  for (size_t i = 0; i < pruned_.size(); ++i) {
    const Pruned& one = pruned_[i];
    names.push_back(one.name);
    if (one.mask.defined()) state.set(detail::concat("masks/", i), one.mask);
    if (one.first.defined()) state.set(detail::concat("first/", i), one.first);
  }
  state.set("names", std::move(names));
  return state;
}

void ModelPruning::load_state_dict(const StateDict& state) { restored_ = state; }

void ModelPruning::restore(const StateDict& state) {
  const auto& names = state.get<std::vector<std::string>>("names");
  const bool same = names.size() == pruned_.size() &&
                    std::equal(names.begin(), names.end(), pruned_.begin(),
                               [](const std::string& a, const Pruned& b) { return a == b.name; });
  LIGHTNING_CHECK(same, CheckpointError, "ModelPruning: the checkpoint has masks of ", names.size(),
                  " parameters, expected those that are pruned now, ", pruned_.size(),
                  ". HINT: resume with the same modules and parameter_names.");
  std::vector<Pruned> loaded = pruned_;
  const auto read = [&](const char* kind, size_t i) {
    const std::string name = detail::concat(kind, "/", i);
    if (!state.contains(name)) return at::Tensor();
    const at::Tensor& parameter = loaded[i].parameter;
    const auto& tensor = state.get<at::Tensor>(name);
    LIGHTNING_CHECK(tensor.defined() && tensor.sizes() == parameter.sizes(), CheckpointError,
                    "ModelPruning: ", name, " of the checkpoint is ", tensor.sizes(), ", expected ",
                    parameter.sizes(), ", the shape of ", names[i],
                    ". HINT: resume with the module it was saved with.");
    return tensor.to(parameter.options().requires_grad(false), /*non_blocking=*/false,
                     /*copy=*/true);
  };
  for (size_t i = 0; i < loaded.size(); ++i) {
    loaded[i].mask = read("masks", i);
    LIGHTNING_CHECK(!loaded[i].mask.defined() ||
                        ((loaded[i].mask == 0) | (loaded[i].mask == 1)).all().item<bool>(),
                    CheckpointError, "ModelPruning: the mask of ", names[i],
                    " in the checkpoint has values beside 0 and 1. HINT: resume from a different "
                    "checkpoint.");
    if (options_.use_lottery_ticket_hypothesis && state.contains(detail::concat("first/", i))) {
      loaded[i].first = read("first", i);
    }
  }
  pruned_ = std::move(loaded);
}

}  // namespace lightning
