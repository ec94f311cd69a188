/// RunContext: what a run works with. The Trainer sets it up before the loops, which only read it.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <lightning/callbacks/callback.h>
#include <lightning/core/lightning_data_module.h>
#include <lightning/core/lightning_module.h>
#include <lightning/distributed/world.h>
#include <lightning/loggers/logger.h>
#include <lightning/run/resolved_options.h>
#include <lightning/strategies/strategy.h>

namespace lightning {

class Precision;

struct RunContext {
  TrainerContext& trainer;
  ResolvedOptions options;
  Stage stage = Stage::kFit;
  std::shared_ptr<LightningModule> module;
  std::shared_ptr<LightningDataModule> data_module = nullptr;  // may be null
  std::shared_ptr<World> world = nullptr;                      // null with one rank
  std::shared_ptr<Strategy> strategy = nullptr;
  std::shared_ptr<Precision> precision = nullptr;
  std::vector<std::shared_ptr<Callback>> callbacks = {};
  std::vector<std::shared_ptr<Logger>> loggers = {};
  std::vector<OptimizerConfig> optimizers = {};
  std::filesystem::path run_dir = {};
  std::string config = {};  // resolved, as YAML

  int64_t world_size() const { return strategy->world_size(); }
  bool is_global_zero() const { return strategy->global_rank() == 0; }
  /// Rank 0's text, on every rank. Every rank must call it.
  std::string from_rank_zero(std::string_view name, const std::string& text) const {
    return world == nullptr ? text : world->control().broadcast(name, text);
  }
  /// Throws DistributedError when a rank has failed: what collectives have given since may be
  /// garbage (a GPU's queue runs on after an abort), so nothing is made of it. One load.
  void throw_if_failed() const {
    if (world != nullptr) world->control().throw_if_failed();
  }
  /// The part of the data that this rank loads in training, or in evaluations.
  DataShard shard(UnevenInputs uneven) const {
    if (!options.user.use_distributed_sampler) return {};
    return {strategy->global_rank(), strategy->world_size(), uneven};
  }
};

}  // namespace lightning
