#include <lightning/callbacks/finetuning.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>
#include <utility>

#include <torch/nn/module.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/optim/optimizer.h>

#include <lightning/optim/parameter_groups.h>
#include <lightning/util/error.h>
#include <lightning/util/format.h>
#include <lightning/util/log.h>

namespace lightning {
namespace {

/// The options of a BatchNorm layer of LibTorch, or nullptr.
torch::nn::BatchNormOptions* batch_norm_options(torch::nn::Module& module) {
  if (auto* one = dynamic_cast<torch::nn::BatchNorm1dImpl*>(&module)) return &one->options;
  if (auto* two = dynamic_cast<torch::nn::BatchNorm2dImpl*>(&module)) return &two->options;
  if (auto* three = dynamic_cast<torch::nn::BatchNorm3dImpl*>(&module)) return &three->options;
  return nullptr;
}

/// Also of other libraries, by the name of the class.
bool is_batch_norm(const torch::nn::Module& module) {
  return module.name().find("BatchNorm") != std::string::npos;
}

bool has_parameter(const torch::optim::Optimizer& optimizer, const at::Tensor& parameter) {
  const auto& groups = optimizer.param_groups();
  return std::any_of(groups.begin(), groups.end(), [&](const auto& group) {
    return std::any_of(group.params().begin(), group.params().end(),
                       [&](const at::Tensor& one) { return one.is_same(parameter); });
  });
}

/// Submodules by their paths.
std::map<std::string, torch::nn::Module*> submodules_of(const torch::nn::Module& module) {
  std::map<std::string, torch::nn::Module*> found;
  for (const auto& item : module.named_modules({}, /*include_self=*/false)) {
    found.emplace(item.key(), item.value().get());
  }
  return found;
}

std::vector<std::string> sorted_unique(std::vector<std::string> names) {
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

void check_rate(const char* name, double rate) {
  LIGHTNING_CHECK(std::isfinite(rate) && rate >= 0.0, CheckpointError, "BaseFinetuning: ", name,
                  " of the checkpoint is ", rate,
                  ", expected 0 or more. HINT: resume from a different checkpoint.");
}

}  // namespace

// ---- BaseFinetuning

void BaseFinetuning::setup(TrainerContext&, LightningModule& module, Stage stage) {
  if (stage != Stage::kFit) return;
  added_.clear();
  adds_again_ = false;
  restored_.reset();
  momenta_.clear();
  last_state_ = StateDict();
  module_ = &module;
  freeze_before_training(module);
}

void BaseFinetuning::teardown(TrainerContext&, LightningModule&, Stage) {
  // Of this class alone: what subclasses add to it, they keep.
  if (module_ != nullptr) last_state_ = BaseFinetuning::state_dict();
  for (const auto& [module, momentum] : momenta_) batch_norm_options(*module)->momentum(momentum);
  momenta_.clear();
  module_ = nullptr;
}

void BaseFinetuning::on_fit_start(TrainerContext& trainer, LightningModule&) {
  if (!restored_) return;
  apply_frozen(*std::exchange(restored_, std::nullopt));
  add_all_again(trainer);
}

/// Of all callbacks of this kind, since one that is listed later may have unfrozen earlier: the
/// optimizer's groups are known by their order.
void BaseFinetuning::add_all_again(TrainerContext& trainer) {
  std::vector<std::pair<const BaseFinetuning*, const AddedGroup*>> groups;
  for (const auto& callback : trainer.callbacks()) {
    auto* finetuning = dynamic_cast<BaseFinetuning*>(callback.get());
    if (finetuning == nullptr || !std::exchange(finetuning->adds_again_, false)) continue;
    for (const AddedGroup& added : finetuning->added_) groups.emplace_back(finetuning, &added);
  }
  std::stable_sort(groups.begin(), groups.end(),
                   [](const auto& a, const auto& b) { return a.second->index < b.second->index; });
  for (const auto& [finetuning, added] : groups) finetuning->add_again(trainer, *added);
}

void BaseFinetuning::on_train_epoch_start(TrainerContext& trainer, LightningModule& module) {
  for (size_t i = 0; i < trainer.optimizers().size(); ++i) {
    torch::optim::Optimizer& optimizer = *trainer.optimizers()[i].optimizer;
    const size_t before = optimizer.param_groups().size();
    finetune_function(module, trainer.current_epoch(), optimizer);
    if (optimizer.param_groups().size() > before) note_added(i, before);
  }
}

void BaseFinetuning::note_added(size_t optimizer, size_t first_group) {
  const optim::ParameterNames names(*module_);
  const auto& groups =
      std::as_const(*module_->trainer().optimizers()[optimizer].optimizer).param_groups();
  for (size_t i = first_group; i < groups.size(); ++i) {
    AddedGroup added = {optimizer, i, {}, groups[i].options().get_lr()};
    for (const at::Tensor& parameter : groups[i].params()) {
      const std::string* name = names.find(parameter);
      LIGHTNING_CHECK(name != nullptr, ConfigError,
                      "BaseFinetuning: finetune_function() added a tensor of shape ",
                      parameter.sizes(),
                      ", expected a parameter of the module. HINT: register it by "
                      "register_parameter() or as a submodule.");
      added.parameters.push_back(*name);
    }
    added_.push_back(std::move(added));
  }
}

void BaseFinetuning::add_again(TrainerContext& trainer, const AddedGroup& added) const {
  LIGHTNING_CHECK(added.optimizer < trainer.optimizers().size(), CheckpointError,
                  "BaseFinetuning: the checkpoint has a group of optimizer ", added.optimizer,
                  ", expected one of ", trainer.optimizers().size(),
                  ". HINT: resume with the optimizers it was saved with.");
  torch::optim::Optimizer& optimizer = *trainer.optimizers()[added.optimizer].optimizer;
  const size_t present = std::as_const(optimizer).param_groups().size();
  LIGHTNING_CHECK(present == added.index, CheckpointError, "BaseFinetuning: the checkpoint has ",
                  added.index, " parameter groups in optimizer ", added.optimizer,
                  " before one that was added, expected as many as there are now: ", present,
                  ". HINT: resume with the optimizers and callbacks it was saved with.");
  const auto named = module_->named_parameters();
  std::vector<at::Tensor> parameters;
  for (const std::string& name : added.parameters) {
    const at::Tensor* parameter = named.find(name);
    LIGHTNING_CHECK(parameter != nullptr && !has_parameter(optimizer, *parameter), CheckpointError,
                    "BaseFinetuning: a group of the checkpoint has the parameter \"", name,
                    "\", expected one of the module that the optimizer doesn't have. HINT: resume "
                    "with the module and the optimizer it was saved with.");
    parameters.push_back(*parameter);
  }
  optimizer.add_param_group(torch::optim::OptimizerParamGroup(std::move(parameters)));
  optimizer.param_groups().back().options().set_lr(added.lr);
}

void BaseFinetuning::apply_frozen(const Frozen& frozen) {
  const std::set<std::string> names(frozen.parameters.begin(), frozen.parameters.end());
  size_t found = 0;
  for (auto& item : module_->named_parameters()) {
    const bool is_frozen = names.contains(item.key());
    found += is_frozen ? 1 : 0;
    if (item.value().requires_grad() == is_frozen) item.value().requires_grad_(!is_frozen);
  }
  const auto modules = submodules_of(*module_);
  const std::set<std::string> still(frozen.statistics.begin(), frozen.statistics.end());
  for (const auto& [name, module] : modules) {
    torch::nn::BatchNormOptions* options = batch_norm_options(*module);
    if (options == nullptr) continue;
    const auto known = momenta_.find(module);
    if (still.contains(name)) {
      ++found;
      if (known != momenta_.end()) continue;
      momenta_.emplace(module, options->momentum());
      options->momentum(0.0);
    } else if (known != momenta_.end()) {
      options->momentum(known->second);
      momenta_.erase(known);
    }
  }
  LIGHTNING_CHECK(found == names.size() + still.size(), CheckpointError,
                  "BaseFinetuning: the checkpoint freezes ", names.size(), " parameters and ",
                  still.size(), " BatchNorm layers, of which the module has ", found,
                  ". HINT: resume with the module it was saved with.");
}

void BaseFinetuning::freeze_itself(torch::nn::Module& module) {
  for (at::Tensor& parameter : module.parameters(/*recurse=*/false)) {
    parameter.requires_grad_(false);
  }
  torch::nn::BatchNormOptions* options = batch_norm_options(module);
  if (options == nullptr || momenta_.contains(&module)) return;
  // Without track_running_stats LibTorch would normalise by the batch in evaluation, too.
  momenta_.emplace(&module, options->momentum());
  options->momentum(0.0);
}

void BaseFinetuning::make_trainable_itself(torch::nn::Module& module) {
  for (at::Tensor& parameter : module.parameters(/*recurse=*/false)) {
    if (parameter.is_floating_point()) parameter.requires_grad_(true);
  }
  const auto known = momenta_.find(&module);
  if (known == momenta_.end()) return;
  batch_norm_options(module)->momentum(known->second);
  momenta_.erase(known);
}

void BaseFinetuning::freeze(torch::nn::Module& module, bool train_bn) {
  module.apply([&](torch::nn::Module& part) {
    if (train_bn && is_batch_norm(part)) {
      make_trainable_itself(part);
    } else {
      freeze_itself(part);
    }
  });
}

void BaseFinetuning::make_trainable(torch::nn::Module& module) {
  module.apply([&](torch::nn::Module& part) { make_trainable_itself(part); });
}

bool BaseFinetuning::unfreeze_and_add_param_group(torch::nn::Module& module,
                                                  torch::optim::Optimizer& optimizer,
                                                  const UnfreezeOptions& options) {
  return unfreeze_and_add_param_group(module, optimizer, options, {});
}

bool BaseFinetuning::unfreeze_and_add_param_group(
    torch::nn::Module& module, torch::optim::Optimizer& optimizer, const UnfreezeOptions& options,
    const std::vector<const torch::optim::Optimizer*>& others) {
  const auto is_optimized = [&](const at::Tensor& parameter) {
    return has_parameter(optimizer, parameter) ||
           std::any_of(others.begin(), others.end(),
                       [&](const auto* other) { return has_parameter(*other, parameter); });
  };
  std::vector<at::Tensor> fresh;
  size_t known = 0;
  module.apply([&](torch::nn::Module& part) {
    if (!options.train_bn && is_batch_norm(part)) {
      for (at::Tensor& parameter : part.parameters(/*recurse=*/false)) {
        parameter.requires_grad_(false);
      }
      return;
    }
    make_trainable_itself(part);
    for (const at::Tensor& parameter : part.parameters(/*recurse=*/false)) {
      const bool is_repeated = std::any_of(fresh.begin(), fresh.end(), [&](const at::Tensor& one) {
        return one.is_same(parameter);
      });
      if (!parameter.requires_grad() || is_repeated) continue;
      if (is_optimized(parameter)) {
        ++known;
      } else {
        fresh.push_back(parameter);
      }
    }
  });
  if (known > 0) {
    log_warning(detail::concat(
        "BaseFinetuning: ", others.empty() ? "the optimizer has " : "the optimizers have ", known,
        " of the parameters to be unfrozen already; they stay in their groups. HINT: use only "
        "parameters with requires_grad() in configure_optimizers()."));
  }
  if (fresh.empty()) return false;
  const double first_lr =
      std::as_const(optimizer).param_groups().front().options().get_lr() / options.initial_denom_lr;
  // Without options: those that the optimizer was made with.
  optimizer.add_param_group(torch::optim::OptimizerParamGroup(std::move(fresh)));
  optimizer.param_groups().back().options().set_lr(options.lr.value_or(first_lr));
  return true;
}

StateDict BaseFinetuning::state_dict() const {
  if (module_ == nullptr) return last_state_;
  StateDict state;
  Frozen frozen;
  for (const auto& item : module_->named_parameters()) {
    if (!item.value().requires_grad()) frozen.parameters.push_back(item.key());
  }
  for (const auto& [name, module] : submodules_of(*module_)) {
    if (momenta_.contains(module)) frozen.statistics.push_back(name);
  }
  state.set("frozen/parameters", std::move(frozen.parameters));
  state.set("frozen/statistics", std::move(frozen.statistics));
  state.set("num_groups", added_.size());
  for (size_t i = 0; i < added_.size(); ++i) {
    const std::string group = detail::concat("groups/", i);
    state.set(group + "/optimizer", added_[i].optimizer);
    state.set(group + "/index", added_[i].index);
    state.set(group + "/parameters", added_[i].parameters);
    state.set(group + "/lr", added_[i].lr);
  }
  return state;
}

void BaseFinetuning::load_state_dict(const StateDict& state) {
  Frozen frozen;
  frozen.parameters = sorted_unique(state.get<std::vector<std::string>>("frozen/parameters"));
  frozen.statistics = sorted_unique(state.get<std::vector<std::string>>("frozen/statistics"));
  std::vector<AddedGroup> groups;
  const auto count = state.get<int64_t>("num_groups");
  // The first one that is missing ends a count that is too large.
  for (int64_t i = 0; i < count; ++i) {
    const StateDict entry = state.nested(detail::concat("groups/", i));
    const auto optimizer = entry.get<int64_t>("optimizer");
    const auto index = entry.get<int64_t>("index");
    const auto& names = entry.get<std::vector<std::string>>("parameters");
    LIGHTNING_CHECK(
        optimizer >= 0 && index >= 0 &&
            std::set<std::string>(names.begin(), names.end()).size() == names.size(),
        CheckpointError, "BaseFinetuning: group ", i, " of the checkpoint is group ", index,
        " of optimizer ", optimizer, " and has ", names.size(),
        " names, expected indices of 0 or more and each name once. HINT: resume from a different "
        "checkpoint.");
    const auto lr = entry.get<double>("lr");
    check_rate("the learning rate of a group", lr);
    groups.push_back({static_cast<size_t>(optimizer), static_cast<size_t>(index), names, lr});
  }
  added_ = std::move(groups);
  adds_again_ = true;
  restored_ = std::move(frozen);
}

// ---- BackboneFinetuning

BackboneFinetuning::BackboneFinetuning(BackboneFinetuningOptions options,
                                       std::function<double(int64_t)> lambda_func)
    : options_(std::move(options)), lambda_func_(std::move(lambda_func)) {
  LIGHTNING_CHECK(!options_.backbone.empty(), ConfigError,
                  "BackboneFinetuning: backbone is empty, expected the path of a submodule. HINT: "
                  "set it to one such as net.encoder.");
  LIGHTNING_CHECK(options_.unfreeze_backbone_at_epoch >= 0, ConfigError,
                  "BackboneFinetuning: unfreeze_backbone_at_epoch is ",
                  options_.unfreeze_backbone_at_epoch,
                  ", expected 0 or more. HINT: the first epoch is 0.");
  LIGHTNING_CHECK(options_.multiplier > 0.0 && options_.backbone_initial_ratio_lr > 0.0 &&
                      options_.backbone_initial_lr.value_or(1.0) > 0.0,
                  ConfigError, "BackboneFinetuning: multiplier is ", options_.multiplier,
                  ", backbone_initial_ratio_lr is ", options_.backbone_initial_ratio_lr,
                  " and backbone_initial_lr is ", options_.backbone_initial_lr.value_or(1.0),
                  ", expected values above 0.");
}

torch::nn::Module& BackboneFinetuning::backbone_of(LightningModule& module) const {
  const auto modules = submodules_of(module);
  const auto found = modules.find(options_.backbone);
  if (found != modules.end()) return *found->second;
  std::string names;
  for (const auto& child : module.named_children()) {
    names += (names.empty() ? "" : ", ") + child.key();
  }
  throw ConfigError(detail::concat(
      "BackboneFinetuning: backbone is \"", options_.backbone,
      "\" and the module has no such submodule, expected one of ",
      names.empty() ? "(it has none)" : names,
      " or a path in them. HINT: set backbone to the name given to register_module()."));
}

void BackboneFinetuning::setup(TrainerContext& trainer, LightningModule& module, Stage stage) {
  if (stage == Stage::kFit) {
    group_.reset();
    backbone_lr_.reset();
    first_lr_ = 0.0;
  }
  BaseFinetuning::setup(trainer, module, stage);
}

void BackboneFinetuning::freeze_before_training(LightningModule& module) {
  freeze(backbone_of(module), options_.train_bn);
}

void BackboneFinetuning::on_fit_start(TrainerContext& trainer, LightningModule& module) {
  BaseFinetuning::on_fit_start(trainer, module);
  const std::optional<int64_t> max_epochs = trainer.max_epochs();
  if (max_epochs && options_.unfreeze_backbone_at_epoch >= *max_epochs &&
      trainer.is_global_zero()) {
    log_warning(detail::concat(
        "BackboneFinetuning: unfreeze_backbone_at_epoch is ", options_.unfreeze_backbone_at_epoch,
        " and max_epochs is ", *max_epochs,
        ", so the backbone stays frozen. HINT: the first epoch is 0; unfreeze in an earlier one."));
  }
  // Of a resumed run.
  if (num_added_groups() > 0) group_ = group_index(0);
}

void BackboneFinetuning::finetune_function(LightningModule& module, int64_t epoch,
                                           torch::optim::Optimizer& optimizer) {
  const bool is_first = &optimizer == module.trainer().optimizers().front().optimizer.get();
  if (!is_first || epoch < options_.unfreeze_backbone_at_epoch) return;
  first_lr_ = std::as_const(optimizer).param_groups().front().options().get_lr();
  if (!backbone_lr_) {
    unfreeze(module, optimizer);
  } else {
    raise_rate(epoch, optimizer);
  }
  if (!options_.verbose) return;
  log_info(format("BackboneFinetuning: epoch {} has the learning rate {}, the backbone {}.", epoch,
                  first_lr_, *backbone_lr_));
}

void BackboneFinetuning::unfreeze(LightningModule& module, torch::optim::Optimizer& optimizer) {
  backbone_lr_ =
      options_.backbone_initial_lr.value_or(first_lr_ * options_.backbone_initial_ratio_lr);
  // A parameter in two optimizers would be stepped twice.
  std::vector<const torch::optim::Optimizer*> others;
  for (const OptimizerConfig& config : module.trainer().optimizers()) {
    if (config.optimizer.get() != &optimizer) others.push_back(config.optimizer.get());
  }
  const bool added = unfreeze_and_add_param_group(
      backbone_of(module), optimizer, {.lr = backbone_lr_, .train_bn = options_.train_bn}, others);
  if (added) group_ = optimizer.param_groups().size() - 1;
}

void BackboneFinetuning::raise_rate(int64_t epoch, torch::optim::Optimizer& optimizer) {
  const double multiplier = lambda_func_ ? lambda_func_(epoch + 1) : options_.multiplier;
  double next = multiplier * *backbone_lr_;
  if (options_.should_align) next = std::min(next, first_lr_);
  backbone_lr_ = next;
  if (group_) optimizer.param_groups()[*group_].options().set_lr(next);
}

void BackboneFinetuning::on_train_batch_start(TrainerContext& trainer, LightningModule&,
                                              const Batch&, int64_t) {
  if (!group_) return;
  // A schedule counts from the rate that the group was added with; the epochs changed it since.
  auto& groups = trainer.optimizers().front().optimizer->param_groups();
  const double now = groups.front().options().get_lr();
  const double change = first_lr_ == 0.0 ? 1.0 : now / first_lr_;
  groups[*group_].options().set_lr(*backbone_lr_ * change);
}

std::string BackboneFinetuning::state_key() const {
  return detail::concat("BackboneFinetuning(backbone=", options_.backbone, ")");
}

StateDict BackboneFinetuning::state_dict() const {
  StateDict state = BaseFinetuning::state_dict();
  if (state.empty()) return state;
  if (backbone_lr_) state.set("backbone_lr", *backbone_lr_);
  state.set("first_lr", first_lr_);
  return state;
}

void BackboneFinetuning::load_state_dict(const StateDict& state) {
  std::optional<double> backbone_lr;
  if (state.contains("backbone_lr")) backbone_lr = state.get<double>("backbone_lr");
  const auto first_lr = state.get<double>("first_lr");
  check_rate("backbone_lr", backbone_lr.value_or(0.0));
  check_rate("first_lr", first_lr);
  BaseFinetuning::load_state_dict(state);
  const size_t expected = num_added_groups();
  const bool in_first = expected == 0 || state.get<int64_t>("groups/0/optimizer") == 0;
  LIGHTNING_CHECK(expected <= 1 && (expected == 0 || backbone_lr) && in_first, CheckpointError,
                  "BackboneFinetuning: the checkpoint has ", expected, " groups and ",
                  backbone_lr ? "a" : "no",
                  " backbone_lr, expected one of each, in the first optimizer, or none. HINT: "
                  "resume from a different checkpoint.");
  backbone_lr_ = backbone_lr;
  first_lr_ = first_lr;
}

}  // namespace lightning
