#include <lightning/callbacks/spike_detection.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include <ATen/Functions.h>

#include <lightning/util/detail/disk.h>
#include <lightning/util/file_system.h>

namespace lightning {
namespace {

constexpr const char* kFile = "skip_batches.json";

/// As JSON.
std::string list_text(const std::vector<int64_t>& numbers) {
  std::string text = "[";
  for (const int64_t number : numbers) {
    text += detail::concat(text.size() == 1 ? "\n    " : ",\n    ", number);
  }
  return text + "\n]\n";
}

/// Before the training rather than at the first spike.
void check_path(const std::filesystem::path& path) {
  const std::filesystem::path file = detail::absolute_path(path);
  LIGHTNING_CHECK(detail::kind_of(file) != detail::FileKind::kFolder, ConfigError,
                  "SpikeDetection: exclude_batches_path is \"", path.string(),
                  "\", which is a folder, expected the path of a file to write. HINT: add a name, "
                  "such as ",
                  kFile, ".");
  for (auto folder = file.parent_path(); folder.has_relative_path();
       folder = folder.parent_path()) {
    const detail::FileKind kind = detail::kind_of(folder);
    if (kind == detail::FileKind::kFolder) return;
    LIGHTNING_CHECK(kind == detail::FileKind::kMissing, ConfigError,
                    "SpikeDetection: exclude_batches_path is \"", path.string(), "\" and \"",
                    folder.string(),
                    "\" is no folder, expected a path in one. HINT: choose a different path.");
  }
}

/// All at once: one wait for the device.
std::vector<double> to_host(const std::vector<at::Tensor>& losses) {
  std::vector<at::Tensor> flat;
  // Of a checkpoint they are on the host, while new ones are on the device.
  const at::Device device = losses.back().device();
  for (const at::Tensor& loss : losses) flat.push_back(loss.reshape({}).to(device, at::kDouble));
  const at::Tensor values = at::stack(flat).cpu();
  return {values.data_ptr<double>(), values.data_ptr<double>() + values.numel()};
}

}  // namespace

TrainingSpikeError::~TrainingSpikeError() = default;

SpikeDetection::SpikeDetection(SpikeDetectionOptions options) : options_(std::move(options)) {
  LIGHTNING_CHECK(options_.window >= 1, ConfigError, "SpikeDetection: window is ", options_.window,
                  ", expected 1 or more. HINT: use 10.");
  LIGHTNING_CHECK(options_.warmup >= 0, ConfigError, "SpikeDetection: warmup is ", options_.warmup,
                  ", expected 0 or more. HINT: use 0 to judge every batch.");
  LIGHTNING_CHECK(options_.every_n_batches >= 1, ConfigError, "SpikeDetection: every_n_batches is ",
                  options_.every_n_batches,
                  ", expected 1 or more. HINT: use 1 to read each loss at once.");
  LIGHTNING_CHECK(options_.atol.value_or(0.0) >= 0.0 && options_.rtol.value_or(0.0) >= 0.0,
                  ConfigError, "SpikeDetection: atol is ", options_.atol.value_or(0.0),
                  " and rtol is ", options_.rtol.value_or(0.0),
                  ", expected 0 or more. HINT: leave out the one that doesn't matter.");
}

void SpikeDetection::setup(TrainerContext& trainer, LightningModule&, Stage stage) {
  if (stage != Stage::kFit) return;
  // All ranks must ask for the folder, and the one that sees a spike is alone: not only then.
  path_ = options_.exclude_batches_path;
  if (!path_.empty()) check_path(path_);
  if (path_.empty() && has_run_folder_) path_ = trainer.run_dir() / kFile;
  pending_.clear();
  window_.clear();
  last_loss_ = 0.0;
  bad_batches_.clear();
}

void SpikeDetection::on_train_batch_end(TrainerContext& trainer, LightningModule&,
                                        const StepOutput& output, const Batch&, int64_t batch_idx) {
  if (!output.loss.defined()) return;
  pending_.push_back({batch_idx, output.loss.detach()});
  if (static_cast<int64_t>(pending_.size()) >= options_.every_n_batches) judge_pending(trainer);
}

void SpikeDetection::on_train_epoch_end(TrainerContext& trainer, LightningModule&) {
  judge_pending(trainer);
}

void SpikeDetection::judge_pending(TrainerContext& trainer) {
  if (pending_.empty()) return;
  const std::vector<Pending> pending = std::exchange(pending_, {});
  std::vector<at::Tensor> tensors;
  for (const Pending& one : pending) tensors.push_back(one.loss);
  const std::vector<double> losses = to_host(tensors);
  for (size_t i = 0; i < losses.size(); ++i) {
    const double loss = losses[i];
    if (pending[i].batch_idx >= options_.warmup && is_spike(loss)) {
      report(trainer, pending[i].batch_idx, loss);
    }
    // With finite_only such a loss is in the warmup, and would spoil the mean of those after it.
    if (!std::isfinite(loss)) continue;
    window_.push_back(loss);
    if (static_cast<int64_t>(window_.size()) > options_.window) window_.pop_front();
    last_loss_ = loss;
  }
}

bool SpikeDetection::is_spike(double loss) const {
  if (!std::isfinite(loss)) return options_.finite_only;
  if (window_.empty()) return false;
  const double change = loss - last_loss_;
  if (options_.mode == MonitorMode::kMin ? change <= 0.0 : change >= 0.0) return false;
  const double mean =
      std::accumulate(window_.begin(), window_.end(), 0.0) / static_cast<double>(window_.size());
  const double distance = std::abs(loss - mean);
  return (!options_.atol || distance >= *options_.atol) &&
         (!options_.rtol || distance >= std::abs(*options_.rtol * mean));
}

void SpikeDetection::report(TrainerContext& trainer, int64_t batch_idx, double loss) {
  if (batch_idx > 0) bad_batches_.push_back(batch_idx - 1);
  bad_batches_.push_back(batch_idx);
  if (!path_.empty()) {
    make_folder_of_option("SpikeDetection: exclude_batches_path",
                          detail::absolute_path(path_).parent_path());
    write_file_atomically(path_, list_text(bad_batches_));
  }
  throw TrainingSpikeError(
      detail::concat("SpikeDetection: the loss of batch ", batch_idx, " in epoch ",
                     trainer.current_epoch(), " is ", loss, " after ", last_loss_,
                     ", expected none so far from the latest ones. HINT: look at ",
                     path_.empty() ? std::string("it and the batch before it")
                                   : detail::concat("the batches listed in ", path_.string()),
                     ", and resume from a checkpoint with a lower learning rate."),
      batch_idx);
}

StateDict SpikeDetection::state_dict() const {
  StateDict state;
  std::vector<int64_t> batches;
  std::vector<at::Tensor> losses;
  for (const Pending& one : pending_) {
    batches.push_back(one.batch_idx);
    losses.push_back(one.loss);
  }
  state.set("window", std::vector<double>(window_.begin(), window_.end()));
  state.set("last_loss", last_loss_);
  state.set("bad_batches", bad_batches_);
  state.set("pending_batches", std::move(batches));
  state.set("pending_losses", losses.empty() ? std::vector<double>() : to_host(losses));
  return state;
}

void SpikeDetection::load_state_dict(const StateDict& state) {
  const auto& window = state.get<std::vector<double>>("window");
  const auto last_loss = state.get<double>("last_loss");
  const auto& batches = state.get<std::vector<int64_t>>("pending_batches");
  const auto& losses = state.get<std::vector<double>>("pending_losses");
  const auto& bad = state.get<std::vector<int64_t>>("bad_batches");
  const bool is_finite =
      std::isfinite(last_loss) &&
      std::all_of(window.begin(), window.end(), [](double loss) { return std::isfinite(loss); });
  LIGHTNING_CHECK(is_finite && batches.size() == losses.size(), CheckpointError,
                  "SpikeDetection: the checkpoint has ", window.size(), " losses, ", batches.size(),
                  " batches and ", losses.size(),
                  " losses that are to be judged, expected finite ones, and as many of the latter "
                  "two. HINT: resume from a different checkpoint.");
  // A smaller window takes the latest.
  const auto size = static_cast<size_t>(options_.window);
  const auto skipped = window.size() > size ? window.size() - size : 0;
  window_.assign(window.begin() + static_cast<std::ptrdiff_t>(skipped), window.end());
  last_loss_ = last_loss;
  bad_batches_ = bad;
  pending_.clear();
  for (size_t i = 0; i < batches.size(); ++i) {
    pending_.push_back({batches[i], at::scalar_tensor(losses[i], at::kDouble)});
  }
}

}  // namespace lightning
