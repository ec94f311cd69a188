#include <lightning/trainer/detail/dry_run_report.h>

#include <sys/resource.h>

#include <algorithm>
#include <unordered_set>
#include <variant>

#include <lightning/accelerators/accelerator.h>
#include <lightning/optim/optimizer_state.h>
#include <lightning/trainer/detail/report.h>
#include <lightning/util/detail/text_table.h>
#include <lightning/util/error.h>
#include <lightning/util/log.h>

namespace lightning {
namespace {

using detail::concat;

std::string count_text(const std::optional<int64_t>& count) {
  return count ? std::to_string(*count) : "unknown";
}

int64_t validations_per_epoch(const RunState& run, int64_t batches) {
  const TrainerOptions& user = run.context.options.user;
  const BatchLimit& interval = user.val_check_interval;
  const bool none =
      run.loaders.validation.empty() || user.limit_val_batches.resolve(1, "limit_val_batches") == 0;
  if (none) return 0;
  if (interval.is_count()) return interval.count() == 0 ? 0 : batches / interval.count();
  if (interval.fraction() == 1.0) return 1;
  const auto every = static_cast<int64_t>(interval.fraction() * static_cast<double>(batches));
  return batches / std::max<int64_t>(every, 1);
}

// ---- ranks and data

std::string ranks_table(const RunState& run, const Progress& before) {
  const Topology& topology = run.context.options.topology;
  const Progress& now = run.progress;
  TextTable table({"dry run", concat("rank 0 of ", topology.world_size)});
  table.add_row({"nodes x devices", concat(topology.num_nodes, " x ", topology.local_world_size)});
  table.add_row({"optimizer steps per epoch", count_text(run.steps_per_epoch())});
  table.add_row({"this run", concat(now.global_step - before.global_step, " steps, ",
                                    now.total_batches - before.total_batches, " batches, ",
                                    now.samples_seen - before.samples_seen, " samples")});
  return table.to_text();
}

/// Batches and samples per epoch of one loader.
void add_loader_rows(TextTable& table, const std::string& name, BatchSource& loader,
                     const DataShard& first, const BatchLimit& limit, std::string_view option) {
  loader.set_shard(first);
  const std::optional<int64_t> batches = limit.resolve(loader.num_batches(), option);
  DataShard last = first;
  last.rank = last.world_size - 1;
  const auto of_first = loader.shard_size(first, batches);
  const auto of_last = loader.shard_size(last, batches);
  if (!of_first || !of_last) {
    table.add_row({name + " batches", count_text(batches), "unknown", "unknown"});
    return;
  }
  table.add_row({name + " batches", count_text(batches), std::to_string(of_first->batches),
                 std::to_string(of_last->batches)});
  table.add_row({name + " samples", std::to_string(of_first->samples_all_ranks),
                 std::to_string(of_first->samples), std::to_string(of_last->samples)});
}

std::string data_table(const RunState& run) {
  const TrainerOptions& user = run.context.options.user;
  const int64_t ranks = run.context.world_size();
  TextTable table({"data of an epoch", "all ranks", "rank 0", concat("rank ", ranks - 1)});
  for (size_t column = 1; column <= 3; ++column) table.align_right(column);
  // A batch sampler's batches have different sizes.
  const int64_t batch = run.loaders.train_loader().batch_size();
  const int64_t step = batch * run.accumulate_grad_batches();
  table.add_row(
      {"batch size", std::to_string(batch * ranks), std::to_string(batch), std::to_string(batch)});
  table.add_row({"samples per step", std::to_string(step * ranks), std::to_string(step),
                 std::to_string(step)});
  add_loader_rows(table, "training", run.loaders.train_loader(),
                  run.context.shard(user.uneven_inputs), user.limit_train_batches,
                  "limit_train_batches");
  for (int64_t i = 0; i < run.loaders.validation.size(); ++i) {
    const std::string name =
        run.loaders.validation.size() == 1 ? "validation" : concat("validation ", i);
    add_loader_rows(table, name, run.loaders.validation[i], run.context.shard(UnevenInputs::kExact),
                    user.limit_val_batches, "limit_val_batches");
  }
  return table.to_text();
}

// ---- memory

int64_t bytes_of(const std::vector<at::Tensor>& tensors, bool trainable_only = false) {
  // Tied ones once.
  std::unordered_set<const c10::TensorImpl*> seen;
  int64_t bytes = 0;
  for (const at::Tensor& tensor : tensors) {
    const bool counts = tensor.defined() && (!trainable_only || tensor.requires_grad());
    if (counts && seen.insert(tensor.unsafeGetTensorImpl()).second) {
      bytes += static_cast<int64_t>(tensor.nbytes());
    }
  }
  return bytes;
}

int64_t bytes_of_optimizer(const RunState& run) {
  const optim::ParameterNames names(*run.context.module);
  std::vector<at::Tensor> tensors;
  for (const OptimizerConfig& config : run.context.optimizers) {
    const StateDict state = optim::optimizer_state(*config.optimizer, names);
    for (const auto& [name, value] : state.entries()) {
      if (const auto* tensor = std::get_if<at::Tensor>(&value)) tensors.push_back(*tensor);
    }
  }
  return bytes_of(tensors);
}

int64_t peak_resident_bytes() {
  rusage usage = {};
  ::getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss * 1024;
}

std::string memory_table(const RunState& run) {
  // Before the optimizer's state is copied for its size.
  const int64_t peak_in_tensors = memory_stats(run.context.options.device).peak_allocated;
  TextTable table({"memory of a rank", "bytes", ""});
  table.align_right(1);
  table.align_right(2);
  int64_t sum = 0;
  const auto add_row = [&](const std::string& name, int64_t bytes) {
    table.add_row({name, std::to_string(bytes), size_text(bytes)});
    sum += bytes;
  };
  const std::vector<at::Tensor> parameters = run.context.module->parameters();
  add_row("weights", bytes_of(parameters));
  add_row("buffers", bytes_of(run.context.module->buffers()));
  add_row("gradients", bytes_of(parameters, /*trainable_only=*/true));
  add_row("optimizer state", bytes_of_optimizer(run));
  add_row("gradient buckets", run.context.strategy->bucket_bytes());
  add_row("sum", sum);
  if (peak_in_tensors > 0) add_row("peak in tensors of this process", peak_in_tensors);
  add_row("peak resident size of this process", peak_resident_bytes());
  return table.to_text();
}

// ---- messages

void add_rows(TextTable& table, const std::string& part, const std::string& times,
              const Traffic& traffic) {
  bool first = true;
  for (const auto& [kind, counters] : traffic) {
    if (counters.messages <= 0) continue;
    table.add_row({first ? part : "", first ? times : "", kind, std::to_string(counters.messages),
                   std::to_string(counters.bytes)});
    first = false;
  }
  if (first) table.add_row({part, times, "nothing", "0", "0"});
}

struct Parts {
  Traffic step;
  Traffic step_metrics;
  Traffic validation;
  Traffic epoch_end;
};

Parts parts_of(const RunState& run) {
  const DryRun& dry_run = *run.phases.dry_run;
  Parts parts{dry_run.last(DryRun::kStep), dry_run.last(DryRun::kStepMetrics),
              dry_run.last(DryRun::kValidation), dry_run.last(DryRun::kEpochEnd)};
  const bool known = dry_run.count(DryRun::kStepMetrics) > 0 || !run.metrics.sync;
  if (!known) parts.step_metrics["all_gather"] = {1, run.metrics.sync->interval_bytes()};
  return parts;
}

/// What the parts don't have: the exchange of weights, the first step's comparisons, names, the
/// agreement on how the run ends.
Traffic once_of(const DryRun& dry_run, const Parts& parts) {
  Traffic once = dry_run.total();
  add(once, parts.step, -dry_run.count(DryRun::kStep));
  add(once, parts.step_metrics, -dry_run.count(DryRun::kStepMetrics));
  add(once, parts.validation, -dry_run.count(DryRun::kValidation));
  add(once, parts.epoch_end, -dry_run.count(DryRun::kEpochEnd));
  return once;
}

void add_epoch_rows(TextTable& table, const RunState& run, const Parts& parts) {
  const std::optional<int64_t> steps = run.steps_per_epoch();
  if (!steps || run.phases.dry_run->count(DryRun::kStep) < 2) return;
  const int64_t every = run.context.options.user.log_every_n_steps;
  const int64_t validations = validations_per_epoch(run, *run.num_training_batches());
  const bool unknown = validations > 0 && run.phases.dry_run->count(DryRun::kValidation) == 0;
  Traffic epoch;
  add(epoch, parts.step, *steps);
  if (every > 0) add(epoch, parts.step_metrics, *steps / every);
  add(epoch, parts.validation, validations);
  add(epoch, parts.epoch_end);
  const std::string without = unknown ? " without validation, which didn't run" : "";
  add_rows(table, concat("an epoch (", *steps, " steps)", without), "", epoch);
}

std::string traffic_table(const RunState& run) {
  const DryRun& dry_run = *run.phases.dry_run;
  const Parts parts = parts_of(run);
  TextTable table({"sent by a rank", "times in this run", "kind", "messages", "bytes"});
  for (const size_t column : {1, 3, 4}) table.align_right(column);
  const auto add_part = [&](const std::string& name, std::string_view part,
                            const Traffic& traffic) {
    add_rows(table, name, std::to_string(dry_run.count(part)), traffic);
  };
  add_rows(table, "start and end", "1", once_of(dry_run, parts));
  if (dry_run.count(DryRun::kStep) > 1) add_part("a step", DryRun::kStep, parts.step);
  add_part("a row of step metrics", DryRun::kStepMetrics, parts.step_metrics);
  add_part("a validation", DryRun::kValidation, parts.validation);
  add_part("an epoch's end", DryRun::kEpochEnd, parts.epoch_end);
  add_epoch_rows(table, run, parts);
  add_rows(table, "this run", "1", dry_run.total());
  return table.to_text();
}

}  // namespace

void print_dry_run(const RunState& run, const Progress& before) {
  for (const std::string& table :
       {ranks_table(run, before), data_table(run), memory_table(run), traffic_table(run)}) {
    log_info("\n" + table);
  }
}

}  // namespace lightning
