#include <lightning/run/resolved_options.h>

#include <chrono>
#include <string>
#include <string_view>
#include <utility>

#include <lightning/accelerators/accelerator.h>
#include <lightning/distributed/join_world.h>
#include <lightning/util/error.h>

namespace lightning {
namespace {

void require_at_least(int64_t value, int64_t least, std::string_view option,
                      std::string_view hint) {
  LIGHTNING_CHECK(value >= least, ConfigError, "Trainer: ", option, " is ", value,
                  ", expected at least ", least, ". HINT: ", hint);
}

/// Clocks count nanoseconds: a longer time added to the present would overflow.
void require_time(std::chrono::seconds time, std::string_view option) {
  static constexpr std::chrono::hours kLongest{24 * 36'500};
  LIGHTNING_CHECK(time <= kLongest, ConfigError, "Trainer: ", option, " is ", time.count(),
                  " s, expected at most 36500 days. HINT: leave it out for the default.");
}

void validate_numbers_of_ranks(const TrainerOptions& o) {
  static constexpr int64_t kMost = 1'000'000;
  require_at_least(o.num_nodes, 1, "num_nodes", "use 1 on one machine.");
  LIGHTNING_CHECK(o.num_nodes <= kMost && o.world_size.value_or(1) <= kMost, ConfigError,
                  "Trainer: num_nodes is ", o.num_nodes, " and world_size is ",
                  o.world_size.value_or(1), ", expected at most ", kMost,
                  ". HINT: use 1 on one machine.");
}

void validate(const TrainerOptions& o) {
  validate_numbers_of_ranks(o);
  require_time(o.connect_timeout, "connect_timeout");
  require_time(o.heartbeat_timeout, "heartbeat_timeout");
  require_time(o.collective_timeout, "collective_timeout");
  require_time(o.slurm.stop_before_end, "slurm.stop_before_end");
  if (o.max_time) require_time(*o.max_time, "max_time");
  if (o.max_epochs) require_at_least(*o.max_epochs, -1, "max_epochs", "use -1 for no limit.");
  LIGHTNING_CHECK(o.connect_timeout.count() > 0 && o.heartbeat_timeout.count() > 0 &&
                      o.collective_timeout.count() > 0,
                  ConfigError, "Trainer: connect_timeout is ", o.connect_timeout.count(),
                  " s, heartbeat_timeout is ", o.heartbeat_timeout.count(),
                  " s and collective_timeout is ", o.collective_timeout.count(),
                  " s, expected positive times. HINT: leave them out for 5 min, 30 s and 30 min.");
  if (o.slurm.max_requeues) {
    require_at_least(*o.slurm.max_requeues, 0, "slurm.max_requeues", "omit it for no limit.");
  }
  require_at_least(o.slurm.stop_before_end.count(), 0, "slurm.stop_before_end",
                   "use 0s to train until the job's end.");
  if (o.min_epochs) require_at_least(*o.min_epochs, 0, "min_epochs", "omit it for no minimum.");
  require_at_least(o.max_steps, -1, "max_steps", "use -1 for no limit.");
  if (o.min_steps) require_at_least(*o.min_steps, 0, "min_steps", "omit it for no minimum.");
  if (o.check_val_every_n_epoch) {
    require_at_least(*o.check_val_every_n_epoch, 1, "check_val_every_n_epoch",
                     "use limit_val_batches: 0 for no validation.");
  }
  require_at_least(o.num_sanity_val_steps, -1, "num_sanity_val_steps", "use -1 for all batches.");
  require_at_least(o.accumulate_grad_batches, 1, "accumulate_grad_batches",
                   "use 1 to step after every batch.");
  require_at_least(o.activation_checkpointing.every_nth(), 0, "activation_checkpointing",
                   "use none for no recomputation.");
  require_at_least(o.reload_dataloaders_every_n_epochs, 0, "reload_dataloaders_every_n_epochs",
                   "use 0 to keep the loaders.");
  require_at_least(o.log_every_n_steps, 0, "log_every_n_steps", "use 0 for no step rows.");
  require_at_least(o.fast_dev_run.batches(), 0, "fast_dev_run", "use true for one batch.");
  LIGHTNING_CHECK(!o.gradient_clip_val || *o.gradient_clip_val > 0.0, ConfigError,
                  "Trainer: gradient_clip_val is ", *o.gradient_clip_val,
                  ", expected a positive number. HINT: use null for no clipping.");
  LIGHTNING_CHECK(!o.max_time || o.max_time->count() > 0, ConfigError, "Trainer: max_time is ",
                  o.max_time->count(),
                  " s, expected a positive time. HINT: use null for no limit.");
  o.limit_train_batches.validate("limit_train_batches");
  o.limit_val_batches.validate("limit_val_batches");
  o.limit_test_batches.validate("limit_test_batches");
  o.limit_predict_batches.validate("limit_predict_batches");
  o.overfit_batches.validate("overfit_batches");
  o.val_check_interval.validate("val_check_interval");
  const BatchLimit& interval = o.val_check_interval;
  LIGHTNING_CHECK(interval.is_count() ? interval.count() > 0 : interval.fraction() > 0.0,
                  ConfigError, "Trainer: val_check_interval is ", interval.to_text(),
                  ", expected more than 0. HINT: use limit_val_batches: 0 for no validation.");
  LIGHTNING_CHECK(o.check_val_every_n_epoch || o.val_check_interval.is_count(), ConfigError,
                  "Trainer: check_val_every_n_epoch is null and val_check_interval is ",
                  o.val_check_interval.to_text(),
                  ", expected a number of batches. HINT: set val_check_interval to an integer.");
}

void validate_dry_run(const TrainerOptions& o) {
  LIGHTNING_CHECK(o.dry_run || !o.world_size, ConfigError, "Trainer: world_size is ",
                  o.world_size.value_or(0),
                  " without a dry run, expected none: it is the number of ranks that a dry run "
                  "simulates. HINT: add --dry_run, or use trainer.devices and "
                  "trainer.num_nodes for real ranks.");
  if (!o.world_size) return;
  require_at_least(*o.world_size, 1, "world_size", "omit it for num_nodes times devices.");
  LIGHTNING_CHECK(*o.world_size % o.num_nodes == 0, ConfigError, "Trainer: world_size is ",
                  *o.world_size, " and num_nodes is ", o.num_nodes,
                  ", expected the same number of ranks on each node. HINT: use --world_size ",
                  (*o.world_size / o.num_nodes + 1) * o.num_nodes,
                  ", or a num_nodes that divides it.");
}

/// Lightning's meaning of fast_dev_run: n batches of everything once, and nothing is written.
void apply_fast_dev_run(TrainerOptions& o) {
  const int64_t n = o.fast_dev_run.batches();
  if (n == 0) return;
  o.limit_train_batches = o.limit_val_batches = n;
  o.limit_test_batches = o.limit_predict_batches = n;
  o.max_epochs = 1;
  o.max_steps = n;
  o.num_sanity_val_steps = 0;
  o.val_check_interval = 1.0;
  o.check_val_every_n_epoch = 1;
  o.enable_checkpointing = false;
}

/// Lightning's rule: it goes before the other limits of fit(), also before those of fast_dev_run.
void apply_overfit_batches(TrainerOptions& o) {
  if (overfits(o)) o.limit_train_batches = o.limit_val_batches = o.overfit_batches;
}

/// Refuses what was asked for explicitly; a value that is the default may just have been left
/// alone.
void apply_barebones(TrainerOptions& o) {
  if (!o.barebones) return;
  const TrainerOptions defaults;
  const auto require = [](bool holds, std::string_view option, const std::string& value,
                          std::string_view expected) {
    LIGHTNING_CHECK(holds, ConfigError, "Trainer: barebones is true and ", option, " is ", value,
                    ", expected ", expected,
                    ": it costs time beside the training. HINT: remove one of the two.");
  };
  require(o.fast_dev_run.batches() == 0, "fast_dev_run", o.fast_dev_run.to_text(), "false");
  require(!o.detect_anomaly, "detect_anomaly", "true", "false");
  require(o.log_every_n_steps == 0 || o.log_every_n_steps == defaults.log_every_n_steps,
          "log_every_n_steps", std::to_string(o.log_every_n_steps), "0");
  require(o.num_sanity_val_steps == 0 || o.num_sanity_val_steps == defaults.num_sanity_val_steps,
          "num_sanity_val_steps", std::to_string(o.num_sanity_val_steps), "0");
  require(!o.async_checkpointing, "async_checkpointing", "true", "false");
  o.enable_checkpointing = false;
  o.enable_progress_bar = false;
  o.enable_model_summary = false;
  o.log_every_n_steps = 0;
  o.num_sanity_val_steps = 0;
}

/// Where rank 0 of the ranks of a dry run would stand.
Placement place_dry_run(const TrainerOptions& user) {
  // A dry run of given size needs no more than one of the devices.
  const Devices wanted = user.world_size ? Devices("auto") : user.devices;
  const Accelerator accelerator = Accelerator::resolve(user.accelerator, wanted.to_text());
  const auto devices_in_all = user.num_nodes * static_cast<int64_t>(accelerator.devices().size());
  Placement placement;
  placement.device = accelerator.devices().front();
  Topology& topology = placement.topology;
  topology.reason = "a dry run";
  topology.world_size = user.world_size.value_or(devices_in_all);
  topology.num_nodes = user.num_nodes;
  topology.local_world_size = topology.world_size / user.num_nodes;
  return placement;
}

/// Which rank this process is and which device it has.
void place(ResolvedOptions& resolved, std::shared_ptr<const ClusterEnvironment> environment) {
  const TrainerOptions& user = resolved.user;
  const Placement placement = user.dry_run ? place_dry_run(user)
                                           : place_rank({.accelerator = user.accelerator,
                                                         .devices = user.devices.to_text(),
                                                         .num_nodes = user.num_nodes,
                                                         .cluster = user.cluster,
                                                         .environment = std::move(environment)});
  resolved.topology = placement.topology;
  resolved.world_size = placement.topology.world_size;
  resolved.device = placement.device;
  resolved.device_name = device_name(resolved.device);

  if (!user.strategy.is_auto()) {
    strategy_registry().resolve(user.strategy.node(), "trainer.strategy");
  }
  precision_registry().resolve(user.precision.node(), "trainer.precision");
  LIGHTNING_CHECK(user.strategy.class_path() != "single_device" || resolved.world_size == 1,
                  ConfigError, "Trainer: strategy is single_device and there are ",
                  resolved.world_size, " ranks, expected one. HINT: use ddp, or devices: 1.");
}

}  // namespace

bool overfits(const TrainerOptions& options) {
  const BatchLimit& batches = options.overfit_batches;
  return batches.is_count() ? batches.count() > 0 : batches.fraction() > 0.0;
}

ResolvedOptions resolve(const TrainerOptions& options,
                        std::shared_ptr<const ClusterEnvironment> environment) {
  validate(options);
  validate_dry_run(options);
  ResolvedOptions resolved;
  resolved.user = options;
  apply_barebones(resolved.user);
  apply_fast_dev_run(resolved.user);
  apply_overfit_batches(resolved.user);
  if (options.dry_run) resolved.user.enable_checkpointing = false;
  const TrainerOptions& user = resolved.user;

  place(resolved, std::move(environment));
  resolved.max_steps = user.max_steps;
  // Lightning's rule: without any limit there are 1000 epochs, a limit in steps alone has no
  // epochs.
  const bool unlimited = user.max_steps == -1 && !user.max_time;
  resolved.max_epochs = user.max_epochs.value_or(unlimited ? 1000 : -1);
  return resolved;
}

}  // namespace lightning
