/// TrainerOptions: what a user may set; names, defaults and meaning are Lightning's.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <lightning/cluster/cluster_environment.h>
#include <lightning/collectives/collectives_backend.h>
#include <lightning/config/class_spec.h>
#include <lightning/config/fields.h>
#include <lightning/core/gradient_clip.h>
#include <lightning/data/shard.h>
#include <lightning/precision/registry.h>
#include <lightning/strategies/ddp_options.h>
#include <lightning/strategies/registry.h>
#include <lightning/util/export.h>

namespace lightning {

/// A fraction of the batches (0.5, 1.0) or a number of batches (10), distinguished by the type in
/// C++ and by the decimal point in YAML: 1.0 is all of them, 1 is one batch.
class LIGHTNING_API BatchLimit {
 public:
  BatchLimit(double fraction) : fraction_(fraction), is_count_(false) {}  // NOLINT
  BatchLimit(int count) : count_(count), is_count_(true) {}               // NOLINT
  BatchLimit(int64_t count) : count_(count), is_count_(true) {}           // NOLINT

  bool is_count() const { return is_count_; }
  int64_t count() const { return count_; }
  double fraction() const { return fraction_; }
  /// The number of batches out of `available`; a fraction is rounded down. Without `available` (a
  /// stream) a fraction other than 0.0 and 1.0 throws ConfigError naming `option`; nothing means
  /// all.
  std::optional<int64_t> resolve(std::optional<int64_t> available, std::string_view option) const;
  /// Throws ConfigError naming `option` when out of range.
  void validate(std::string_view option) const;

  static BatchLimit from_text(std::string_view text);
  static std::string type_name() { return "fraction or count"; }
  std::string to_text() const;
  bool operator==(const BatchLimit&) const = default;

 private:
  double fraction_ = 1.0;
  int64_t count_ = 0;
  bool is_count_;
};

/// false, true (one batch of everything) or a number of batches.
class LIGHTNING_API FastDevRun {
 public:
  FastDevRun(bool on) : batches_(on ? 1 : 0) {}   // NOLINT: implicit on purpose
  FastDevRun(int batches) : batches_(batches) {}  // NOLINT
  int64_t batches() const { return batches_; }
  static FastDevRun from_text(std::string_view text);
  static std::string type_name() { return "true|false or count"; }
  std::string to_text() const;

 private:
  int64_t batches_;
};

/// false, true (only deterministic kernels; an operation that has none is an error) or "warn" (it
/// is a warning).
class LIGHTNING_API Deterministic {
 public:
  Deterministic(bool on) : on_(on) {}    // NOLINT: implicit on purpose
  Deterministic(std::string_view text);  // NOLINT: throws ConfigError for other texts
  Deterministic(const char* text) : Deterministic(std::string_view(text)) {}  // NOLINT
  bool on() const { return on_; }
  bool warns_only() const { return warns_only_; }
  static Deterministic from_text(std::string_view text) { return text; }
  static std::string type_name() { return "true|false|warn"; }
  std::string to_text() const;

 private:
  bool on_ = false;
  bool warns_only_ = false;
};

/// Which units (lightning/nn/unit.h) compute their activations again in backward: none, all, or
/// every n-th (a number).
class LIGHTNING_API ActivationCheckpointing {
 public:
  ActivationCheckpointing(int every_nth) : every_nth_(every_nth) {}  // NOLINT: implicit on purpose
  /// Throws ConfigError for other texts.
  ActivationCheckpointing(std::string_view text);  // NOLINT
  ActivationCheckpointing(const char* text)        // NOLINT
      : ActivationCheckpointing(std::string_view(text)) {}
  /// 0: none, 1: all.
  int64_t every_nth() const { return every_nth_; }
  static ActivationCheckpointing from_text(std::string_view text) { return text; }
  static std::string type_name() { return "none|all or number"; }
  std::string to_text() const;

 private:
  int64_t every_nth_ = 0;
};

/// Which devices: auto (one), a number of them (-1: all there are) or a list of indices. As text
/// "auto", "2", "0,1" or "[0, 1]"; the list of one is "0," or "[0]". Whether they exist is found
/// out by resolve().
class LIGHTNING_API Devices {
 public:
  Devices(int64_t count) : text_(std::to_string(count)) {}  // NOLINT
  Devices(int count) : Devices(int64_t{count}) {}           // NOLINT
  Devices(const std::vector<int64_t>& indices);             // NOLINT
  Devices(std::initializer_list<int64_t> indices) : Devices(std::vector(indices)) {}
  Devices(std::string_view text);                                        // NOLINT
  Devices(const char* text) : Devices(std::string_view(text)) {}         // NOLINT
  Devices(const std::string& text) : Devices(std::string_view(text)) {}  // NOLINT

  static Devices from_text(std::string_view text);
  static std::string type_name() { return "auto, count or list"; }
  /// "auto", "2" or "[0, 1]"; a text that is none of them stays as it is.
  std::string to_text() const { return text_; }
  bool operator==(const Devices&) const = default;

 private:
  std::string text_;
};

/// A class of a registry, or auto: the Trainer chooses. In a config it is a name, or {class_path,
/// init_args} where options of the class are to differ from their defaults.
template <auto& registry_function>
class ClassChoice : public config::SpecOf<registry_function> {
  using Spec = config::SpecOf<registry_function>;

 public:
  using Spec::Spec;

  bool is_auto() const { return this->class_path() == "auto"; }
  void read(const config::ConfigNode& node, std::string_view path) {
    config::ClassSpec given(node, std::string(path));
    const bool is_class = !given.empty() && given.class_path() != "auto";
    if (is_class) Spec::registry().resolve(node, path);  // throws for what the class doesn't take
    static_cast<config::ClassSpec&>(*this) = std::move(given);
  }
  /// As it was given, the class by its registered name.
  config::ConfigNode to_node() const {
    if (this->empty()) return {};
    const auto* entry = Spec::registry().find_entry(this->node());
    const std::string name = entry != nullptr ? entry->name : this->class_path();
    if (this->node().find("init_args") == nullptr) return config::ConfigNode::scalar(name);
    config::ConfigNode node = this->node();
    node.set("class_path", config::ConfigNode::scalar(name));
    return node;
  }
};

/// What to do about a loss or gradient that is not finite.
enum class OnNonfinite { kError, kWarn, kIgnore };

/// Which settings of the optimizer (learning rate, betas, weight decay, ...) hold in a run that
/// resumes: those that the checkpoint has, as in PyTorch, or those that configure_optimizers()
/// gives now. The optimizer's moments and step counts are the checkpoint's in any case.
enum class ResumeOptimizerOptions { kFromCheckpoint, kFromConfig };
LIGHTNING_ENUM(ResumeOptimizerOptions, LIGHTNING_ENUMERATOR(kFromCheckpoint, "checkpoint"),
               LIGHTNING_ENUMERATOR(kFromConfig, "config"))

/// The signal by which SLURM announces the end of a job: sbatch --signal=SIGUSR1@90.
enum class RequeueSignal { kUsr1, kUsr2, kHup };
LIGHTNING_ENUM(RequeueSignal, LIGHTNING_ENUMERATOR(kUsr1, "SIGUSR1"),
               LIGHTNING_ENUMERATOR(kUsr2, "SIGUSR2"), LIGHTNING_ENUMERATOR(kHup, "SIGHUP"))

/// What fit() does inside a SLURM job before the job ends.
struct SlurmOptions {
  bool auto_requeue = true;
  RequeueSignal requeue_signal = RequeueSignal::kUsr1;
  std::optional<int64_t> max_requeues = std::nullopt;
  std::chrono::seconds stop_before_end{60};
};
LIGHTNING_FIELDS(
    SlurmOptions,
    LIGHTNING_FIELD(auto_requeue, "requeue the job when it is stopped before training finishes"),
    LIGHTNING_FIELD(requeue_signal, "SIGUSR1, SIGUSR2 or SIGHUP: announces the job's end"),
    LIGHTNING_FIELD(max_requeues, "how often a job may be requeued; null: no limit"),
    LIGHTNING_FIELD(stop_before_end,
                    "stop this long before the job's end (at most a tenth of its time) when no "
                    "signal came; 0s: don't"))

struct TrainerOptions {
  // ---- where
  std::string accelerator = "auto";
  Devices devices = "auto";
  int64_t num_nodes = 1;
  /// auto (ddp with several ranks, else single_device), or a class of strategy_registry().
  ClassChoice<strategy_registry> strategy = "auto";
  /// Default init_args of every strategy whose options are DDPOptions.
  DDPOptions ddp = {};
  /// auto (the first that recognizes its variables), or a class of cluster_registry().
  ClassChoice<cluster_registry> cluster = "auto";
  SlurmOptions slurm = {};
  bool sync_batchnorm = false;
  bool use_distributed_sampler = true;
  UnevenInputs uneven_inputs = UnevenInputs::kJoin;
  bool prepare_data_per_node = true;
  std::chrono::seconds connect_timeout{300};
  std::chrono::seconds heartbeat_timeout{30};
  std::chrono::seconds collective_timeout{1800};
  std::string network_interface = "";
  ProcessGroupBackend process_group_backend = ProcessGroupBackend::kAuto;
  /// A class of precision_registry().
  ClassChoice<precision_registry> precision = "32-true";
  // ---- how long
  std::optional<int64_t> max_epochs = std::nullopt;
  std::optional<int64_t> min_epochs = std::nullopt;
  int64_t max_steps = -1;
  std::optional<int64_t> min_steps = std::nullopt;
  std::optional<std::chrono::seconds> max_time = std::nullopt;
  BatchLimit limit_train_batches = 1.0;
  BatchLimit limit_val_batches = 1.0;
  BatchLimit limit_test_batches = 1.0;
  BatchLimit limit_predict_batches = 1.0;
  FastDevRun fast_dev_run = false;
  /// Asks for the loaders of training and validation again at the beginning of each n-th epoch; 0:
  /// never. Loaders that were given to fit() stay.
  int64_t reload_dataloaders_every_n_epochs = 0;
  /// More than 0: as many batches of the training data, in the data set's order, are trained on in
  /// each epoch, and validated on in place of the validation data. Goes before limit_train_batches
  /// and limit_val_batches.
  BatchLimit overfit_batches = 0.0;
  // ---- validation
  BatchLimit val_check_interval = 1.0;
  std::optional<int64_t> check_val_every_n_epoch = 1;
  int64_t num_sanity_val_steps = 2;
  /// validate(), test() and predict() run their batches in c10::InferenceMode, else without
  /// gradients. The validation inside fit() does always the latter.
  bool inference_mode = true;
  // ---- optimization
  int64_t accumulate_grad_batches = 1;
  std::optional<double> gradient_clip_val = std::nullopt;
  GradientClipAlgorithm gradient_clip_algorithm = GradientClipAlgorithm::kNorm;
  /// Less memory for more time. Throws ConfigError at the start of a fit without units.
  ActivationCheckpointing activation_checkpointing = "none";
  Deterministic deterministic = false;
  /// cudnn.benchmark during a run; none: left as the program has it, or false with deterministic.
  std::optional<bool> benchmark = std::nullopt;
  /// Autograd's anomaly mode during fit(): a backward that gives nan is a DataError that names the
  /// operation. Slow, and each operation of the backward is a host sync.
  bool detect_anomaly = false;
  OnNonfinite on_nonfinite = OnNonfinite::kError;
  ResumeOptimizerOptions resume_optimizer_options = ResumeOptimizerOptions::kFromCheckpoint;
  // ---- what is written
  int64_t log_every_n_steps = 50;
  bool enable_progress_bar = true;
  bool enable_checkpointing = true;
  bool enable_model_summary = true;
  /// fit() writes the run's configuration to the loggers.
  bool enable_autolog_hparams = true;
  /// Everything that costs time beside the training is off: checkpoints, loggers, log(), progress
  /// bar, model summary, sanity check. Options that are at their defaults are switched off, others
  /// that ask for such a thing are a ConfigError.
  bool barebones = false;
  bool async_checkpointing = false;
  std::filesystem::path default_root_dir = ".";
  // ---- a dry run; on the command line also --dry_run and --world_size
  /// fit() trains as rank 0 of a simulated world, for max_steps optimizer steps (default: 3),
  /// writes nothing, and prints what each rank holds and sends (docs/distributed.md).
  bool dry_run = false;
  /// Ranks of the dry run, spread over num_nodes; none: num_nodes times devices.
  std::optional<int64_t> world_size = std::nullopt;
};

LIGHTNING_ENUM(OnNonfinite, LIGHTNING_ENUMERATOR(kError, "error"),
               LIGHTNING_ENUMERATOR(kWarn, "warn"), LIGHTNING_ENUMERATOR(kIgnore, "ignore"))

LIGHTNING_FIELDS(
    TrainerOptions, LIGHTNING_FIELD(accelerator, "auto, cpu or gpu (also: cuda)"),
    LIGHTNING_FIELD(devices, "auto, a number of devices (-1: all), or a list of indices ([0, 1])"),
    LIGHTNING_FIELD(num_nodes, "number of machines"),
    LIGHTNING_FIELD(strategy, "auto (ddp with several ranks), ddp, single_device, or a class"),
    LIGHTNING_FIELD(ddp, "how gradients are reduced over ranks"),
    LIGHTNING_FIELD(cluster,
                    "launcher of the ranks: auto, slurm, torchrun, mpi, lsf, local, or a class"),
    LIGHTNING_FIELD(slurm, "stopping and requeueing inside a SLURM job"),
    LIGHTNING_FIELD(sync_batchnorm, "normalise over the global batch"),
    LIGHTNING_FIELD(use_distributed_sampler, "each rank loads its own part of the data"),
    LIGHTNING_FIELD(uneven_inputs,
                    "join, pad or drop: the last global batch when it can't be full"),
    LIGHTNING_FIELD(prepare_data_per_node, "prepare_data() runs on each node, not once in all"),
    LIGHTNING_FIELD(connect_timeout, "time limit for all ranks to connect at the start"),
    LIGHTNING_FIELD(heartbeat_timeout, "a rank that is silent for this long is considered hung"),
    LIGHTNING_FIELD(collective_timeout, "time limit for a rank that has not joined a collective"),
    LIGHTNING_FIELD(network_interface, "interface for the ranks' connections, such as eth0"),
    LIGHTNING_FIELD(process_group_backend,
                    "between CPUs: shared_memory, gloo, or auto (the former on one node)"),
    LIGHTNING_FIELD(precision,
                    "32-true, bf16-mixed, 16-mixed, 64-true, bf16-true, 16-true, or a class"),
    LIGHTNING_FIELD(max_epochs,
                    "stop after this many epochs; 1000 when max_steps is unset too; -1: no limit"),
    LIGHTNING_FIELD(
        min_epochs,
        "minimum number of epochs; a stop requested before is dropped (signals excepted)"),
    LIGHTNING_FIELD(max_steps, "stop after this many optimizer steps; -1: no limit"),
    LIGHTNING_FIELD(
        min_steps,
        "minimum number of steps; a stop requested before is dropped (signals excepted)"),
    LIGHTNING_FIELD(max_time, "stop after this time, DD:HH:MM:SS"),
    LIGHTNING_FIELD(limit_train_batches,
                    "fraction (0.5) or number (10) of training batches per epoch"),
    LIGHTNING_FIELD(limit_val_batches, "fraction or number of validation batches"),
    LIGHTNING_FIELD(limit_test_batches, "fraction or number of test batches"),
    LIGHTNING_FIELD(limit_predict_batches, "fraction or number of prediction batches"),
    LIGHTNING_FIELD(fast_dev_run, "true or n: n batches of everything, no checkpoints, no logs"),
    LIGHTNING_FIELD(reload_dataloaders_every_n_epochs,
                    "call train_dataloader and val_dataloader again every n epochs; 0: never"),
    LIGHTNING_FIELD(overfit_batches,
                    "fraction or number of training batches, in order, to train and validate on; "
                    "0: off"),
    LIGHTNING_FIELD(val_check_interval,
                    "validate after every fraction (0.25) of an epoch or number (1000) of batches"),
    LIGHTNING_FIELD(
        check_val_every_n_epoch,
        "validate in every n-th epoch; null: val_check_interval counts batches across epochs"),
    LIGHTNING_FIELD(num_sanity_val_steps,
                    "validation batches run before training; -1: all, 0: none"),
    LIGHTNING_FIELD(inference_mode,
                    "validate, test and predict in inference mode, else only without gradients"),
    LIGHTNING_FIELD(accumulate_grad_batches, "batches per optimizer step"),
    LIGHTNING_FIELD(gradient_clip_val, "limit for gradients; null: no clipping"),
    LIGHTNING_FIELD(gradient_clip_algorithm, "norm: global L2 norm; value: each element"),
    LIGHTNING_FIELD(activation_checkpointing,
                    "none, all or n: units (or every n-th) compute activations again in backward"),
    LIGHTNING_FIELD(
        deterministic,
        "use deterministic kernels only; warn: warn instead of failing where none exists"),
    LIGHTNING_FIELD(benchmark,
                    "cudnn.benchmark: true or false; null: as it is, or false with deterministic"),
    LIGHTNING_FIELD(detect_anomaly,
                    "fit: name the operation whose backward gives nan; slow, for debugging"),
    LIGHTNING_FIELD(on_nonfinite, "error, warn or ignore when a loss or gradient is not finite"),
    LIGHTNING_FIELD(resume_optimizer_options,
                    "checkpoint or config: whose learning rate and other optimizer settings a "
                    "resumed run has"),
    LIGHTNING_FIELD(log_every_n_steps, "optimizer steps between rows of step metrics"),
    LIGHTNING_FIELD(enable_progress_bar, "show progress on the terminal"),
    LIGHTNING_FIELD(enable_checkpointing,
                    "save a checkpoint each epoch when no ModelCheckpoint is given"),
    LIGHTNING_FIELD(enable_model_summary, "print the table of layers"),
    LIGHTNING_FIELD(enable_autolog_hparams, "write the configuration to the loggers"),
    LIGHTNING_FIELD(barebones, "switch off all that costs time beside the training"),
    LIGHTNING_FIELD(async_checkpointing, "write checkpoints in a background thread"),
    LIGHTNING_FIELD(default_root_dir, "folder for logs and checkpoints"),
    LIGHTNING_FIELD(dry_run, "run a few steps as rank 0 of a simulated world; write nothing"),
    LIGHTNING_FIELD(world_size, "ranks of the dry run; null: num_nodes times devices"))

}  // namespace lightning
