// A program that trains on several ranks, notes which samples each of them saw, and can be made to
// fail in many ways on one of them, in each phase of a run.
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <thread>

#include <lightning/distributed/world.h>
#include <lightning/lightning.h>
#include <lightning/nn/batch_norm.h>

struct RanksModelOptions {
  double dropout = 0.0;
  bool batch_norm = false;
  /// Two optimizers by hand: each layer has its own, and two backwards for each step.
  bool manual = false;
  /// Registers metrics and logs them.
  bool metrics = false;
  /// Samples with a lower number are left out of the loss, the others weigh 1 to 3: a batch without
  /// any is skipped. -1: all weigh the same.
  int64_t least_number = -1;
  /// File to which each training sample's number is added, "FILE.RANK"; empty: none.
  std::string samples = "";
  /// File to which each rank writes what it has sent, "FILE.RANK"; empty: none.
  std::string counters = "";
  /// What happens on rank `fault_rank` in step `fault_step`: throw, kill, freeze, extra_log,
  /// terminate (SIGTERM to itself), stop (request_stop), full_disk (files can't grow), shape (its
  /// weights have another shape from the start), kill_beside_stuck (the other ranks never return
  /// from the training step in which this one is killed), kill_and_terminate (the others get
  /// SIGTERM when their model is destroyed), sizes (all ranks reduce a tensor, this one a longer
  /// one), collectives (the others do, this one goes to a barrier), sleep (6 seconds), weights
  /// (each rank begins with weights of its own).
  std::string fault = "";
  int64_t fault_rank = 1;
  int64_t fault_step = 3;
  /// prepare_data, setup, fit_start, training, backward, after_backward (the other ranks wait there
  /// until they know), validation, validation_epoch_end, train_epoch_end, checkpoint, train_end
  /// (after the last boundary), end, or after_end (as after_backward).
  std::string fault_phase = "training";
  /// The fault happens only while there is no such file, which it makes; empty: always.
  std::string fault_once = "";
  /// How long each training step takes at least, in seconds, from the second one on.
  double step_seconds = 0.0;
  /// File to which all ranks add a line for each of their hooks before the fit, "RANK model.HOOK";
  /// empty: none.
  std::string hooks = "";
};
LIGHTNING_FIELDS(RanksModelOptions, LIGHTNING_FIELD(dropout, "share that is dropped"),
                 LIGHTNING_FIELD(batch_norm, "with a layer that has buffers"),
                 LIGHTNING_FIELD(manual, "manual optimization"),
                 LIGHTNING_FIELD(metrics, "logs metrics"),
                 LIGHTNING_FIELD(least_number, "of a sample that counts"),
                 LIGHTNING_FIELD(samples, "file for the numbers of the samples"),
                 LIGHTNING_FIELD(counters, "file for what was sent"),
                 LIGHTNING_FIELD(fault, "what goes wrong"),
                 LIGHTNING_FIELD(fault_rank, "on which rank"),
                 LIGHTNING_FIELD(fault_step, "in which step"),
                 LIGHTNING_FIELD(fault_phase, "in which part of the run"),
                 LIGHTNING_FIELD(fault_once, "file that says it has happened"),
                 LIGHTNING_FIELD(step_seconds, "time that a step takes"),
                 LIGHTNING_FIELD(hooks, "file for the hooks before the fit"))

void note_hook(const std::string& file, const lightning::TrainerContext& trainer,
               const std::string& hook) {
  if (file.empty()) return;
  // One write, which the ranks' shared file takes whole.
  std::ofstream(file, std::ios::app) << std::to_string(trainer.global_rank()) + " " + hook + "\n";
}

class RanksModel : public lightning::LightningModule {
 public:
  using Options = RanksModelOptions;
  explicit RanksModel(Options options) : options_(std::move(options)) {
    using namespace torch::nn;
    if (options_.fault == "weights") torch::manual_seed(static_cast<uint64_t>(::getpid()));
    net_ = register_module(
        "net", Sequential(Linear(4, 8), Tanh(), Dropout(options_.dropout), Linear(8, 1)));
    if (options_.batch_norm) {
      norm_ = register_module("norm", lightning::nn::BatchNorm(4));
    }
    if (options_.metrics) {
      namespace metrics = lightning::metrics;
      train_error_ = make_metric<metrics::MeanAbsoluteError>("train_error");
      train_auroc_ = make_metric<metrics::AUROC>("train_auroc", metrics::AUROCOptions{});
      error_ = make_metric<metrics::MeanAbsoluteError>("error");
      least_ = make_metric<metrics::MinMetric>("least");
    }
    set_automatic_optimization(!options_.manual);
    save_hyperparameters(options_);
  }

  ~RanksModel() override {
    // As srun ends the others when it saw one of them die.
    if (options_.fault == "kill_and_terminate") ::raise(SIGTERM);
  }

  void prepare_data() override {
    note_hook(options_.hooks, trainer(), "model.prepare_data");
    if (is_time_for("prepare_data")) go_wrong();
  }
  void setup(lightning::Stage) override {
    note_hook(options_.hooks, trainer(), "model.setup");
    if (is_time_for("setup")) go_wrong();
  }
  void on_fit_start() override {
    if (is_time_for("fit_start")) go_wrong();
  }
  void on_train_start() override { say("threads", at::get_num_threads()); }
  lightning::StepOutput training_step(const lightning::Batch& batch, int64_t) override {
    note(batch);
    ++batches_;
    if (global_step() > 0) {
      std::this_thread::sleep_for(std::chrono::duration<double>(options_.step_seconds));
    }
    if (in_fault_step() && options_.fault == "kill_beside_stuck") {
      // Else the others may hear of the death before they are here.
      lightning::World::current()->control().barrier("all are in the step");
    }
    if (in_fault_step() && is_time_for("training")) go_wrong();
    if (in_fault_step() && options_.fault == "kill_beside_stuck") {
      for (;;) std::this_thread::sleep_for(std::chrono::seconds(1));
    }
    if (in_fault_step()) use_group();
    if (options_.manual) train_manually(batch);
    const auto output = forward(batch["x"]);
    if (in_fault_step() && is_time_for("backward")) {
      output.register_hook([this](const at::Tensor&) { go_wrong(); });
    }
    const auto loss = torch::mse_loss(output, batch["y"]);
    log("train_loss", loss, {.on_step = true, .on_epoch = true, .sync_dist = true});
    if (options_.metrics) measure(output.detach(), batch);
    return options_.least_number < 0 ? loss : weighted(output, batch);
  }
  void validation_step(const lightning::Batch& batch, int64_t) override {
    if (is_time_for("validation")) go_wrong();
    evaluate("val", batch);
  }
  void test_step(const lightning::Batch& batch, int64_t) override { evaluate("test", batch); }
  lightning::Batch predict_step(const lightning::Batch& batch, int64_t) override {
    return lightning::Batch({{"output", forward(batch["x"])}, {"number", batch["number"]}});
  }
  void on_validation_epoch_end() override {
    if (is_time_for("validation_epoch_end")) go_wrong();
  }
  void on_train_epoch_end() override {
    if (is_time_for("train_epoch_end")) go_wrong();
  }
  void on_save_checkpoint(lightning::StateDict&) override {
    if (global_step() == options_.fault_step && is_time_for("checkpoint")) go_wrong();
  }
  void on_after_backward() override {
    if (!in_fault_step() || options_.fault_phase != "after_backward") return;
    if (is_time_for("after_backward")) go_wrong();
    while (!lightning::World::current()->control().failed()) std::this_thread::yield();
  }
  void on_before_optimizer_step(torch::optim::Optimizer&) override {
    const auto world = lightning::World::current();
    if (world != nullptr && world->control().failed()) std::puts("a step after the failure");
  }
  void teardown(lightning::Stage) override { say("steps", global_step()); }
  void on_train_end() override {
    if (is_time_for("train_end")) go_wrong();
  }
  void on_fit_end() override {
    if (is_time_for("end") || is_time_for("after_end")) go_wrong();
    if (options_.fault_phase == "after_end") {
      while (!lightning::World::current()->control().failed()) std::this_thread::yield();
    }
    if (!options_.counters.empty()) write_counters();
  }
  lightning::OptimizerList configure_optimizers() override {
    if (options_.manual) {
      std::vector<lightning::OptimizerConfig> configs;
      for (const size_t layer : {0, 3}) {
        configs.push_back({.optimizer = std::make_shared<lightning::optim::AdamW>(
                               net_[layer]->parameters(), torch::optim::AdamWOptions(0.02))});
      }
      return configs;
    }
    // A callback may have frozen some.
    std::vector<at::Tensor> trainable;
    for (const at::Tensor& parameter : parameters()) {
      if (parameter.requires_grad()) trainable.push_back(parameter);
    }
    return std::make_shared<lightning::optim::AdamW>(std::move(trainable),
                                                     torch::optim::AdamWOptions(0.02));
  }

 private:
  at::Tensor forward(const at::Tensor& x) {
    return net_->forward(options_.batch_norm ? norm_->forward(x) : x);
  }
  void train_manually(const lightning::Batch& batch) {
    for (size_t i = 0; i < 2; ++i) {
      auto& one = optimizer(i);
      const auto toggle = one.toggle();
      one.zero_grad();
      manual_backward(forward(batch["x"]).square().mean(), lightning::Sync::kMoreFollow);
      manual_backward(torch::mse_loss(forward(batch["x"]), batch["y"]));
      one.clip_gradients(0.5);
      one.step();
    }
  }
  void use_group() const {
    if (options_.fault != "sizes" && options_.fault != "collectives") return;
    const bool odd = trainer().global_rank() == options_.fault_rank;
    lightning::ProcessGroup& group = lightning::World::current()->group();
    if (odd && options_.fault == "collectives") return group.barrier();
    auto tensor = torch::ones({odd ? 70'000 : 3});
    group.all_reduce(tensor);
  }
  void measure(const at::Tensor& output, const lightning::Batch& batch) {
    train_error_->update(output, batch["y"]);
    train_auroc_->update(output, (batch["y"] > 0.0).to(torch::kLong));
    log("train_error", train_error_, {.on_step = true, .on_epoch = true});
    log("train_auroc", train_auroc_, {.on_step = false, .on_epoch = true});
  }
  void evaluate(const std::string& kind, const lightning::Batch& batch) {
    if (options_.metrics) {
      error_->update(forward(batch["x"]), batch["y"]);
      least_->update(batch["y"]);
      log_dict({{kind + "_error", error_}, {kind + "_least_of_all", least_}});
    }
    log(kind + "_loss", torch::mse_loss(forward(batch["x"]), batch["y"]));
    log(kind + "_least", batch["y"].min(), {.reduce_fx = lightning::ReduceFx::kMin});
    log(kind + "_count", static_cast<double>(batch["y"].size(0)),
        {.reduce_fx = lightning::ReduceFx::kSum});
  }
  lightning::StepOutput weighted(const at::Tensor& output, const lightning::Batch& batch) const {
    const auto numbers = batch["number"].reshape({-1, 1});
    const auto weights = (numbers % 3 + 1) * (numbers >= options_.least_number);
    if (weights.sum().item<int64_t>() == 0) {
      say("skipped in step", global_step() + 1);
      return lightning::StepOutput::skip();
    }
    const auto losses = weights * (output - batch["y"]).square();
    return {losses.sum() / weights.sum(), weights.sum()};
  }
  /// On stdout; the launcher says which rank it was.
  static void say(const char* what, int64_t number) {
    std::printf("%s %d\n", what, static_cast<int>(number));
    std::fflush(stdout);
  }
  void write_counters() const {
    lightning::World& world = *lightning::World::current();
    std::ofstream file(options_.counters + "." + std::to_string(trainer().global_rank()));
    file << "batches " << batches_ << " 0\nsamples " << trainer().samples_seen() << " 0\n";
    for (const auto& [name, counters] : world.group().counters_by_name()) {
      file << name << ' ' << counters.messages << ' ' << counters.bytes << '\n';
    }
    const auto exchanges = world.control().exchange_counters();
    file << "control_plane " << exchanges.exchanges << ' ' << exchanges.bytes << '\n';
  }
  void note(const lightning::Batch& batch) const {
    if (options_.samples.empty() || batch.is_padding()) return;
    std::ofstream file(options_.samples + "." + std::to_string(trainer().global_rank()),
                       std::ios::app);
    const auto numbers = batch["number"].contiguous();
    for (int64_t i = 0; i < numbers.numel(); ++i) {
      file << current_epoch() << ' ' << global_step() << ' ' << numbers.data_ptr<int64_t>()[i]
           << '\n';
    }
  }
  bool in_fault_step() const { return global_step() + 1 == options_.fault_step; }
  bool is_time_for(std::string_view phase) const {
    return !options_.fault.empty() && options_.fault_phase == phase &&
           trainer().global_rank() == options_.fault_rank &&
           (options_.fault_once.empty() || !std::filesystem::exists(options_.fault_once));
  }
  void go_wrong() {
    if (!options_.fault_once.empty()) std::ofstream(options_.fault_once).put('x');
    if (options_.fault == "throw") throw std::runtime_error("the disk of this rank is full");
    if (options_.fault.starts_with("kill")) ::raise(SIGKILL);
    if (options_.fault == "freeze") ::raise(SIGSTOP);
    if (options_.fault == "terminate") ::raise(SIGTERM);
    if (options_.fault == "sleep") std::this_thread::sleep_for(std::chrono::seconds(6));
    if (options_.fault == "stop") trainer().request_stop("asked for by a rank");
    if (options_.fault == "full_disk") {
      std::signal(SIGXFSZ, SIG_IGN);
      const rlimit limit = {.rlim_cur = 100, .rlim_max = RLIM_INFINITY};
      ::setrlimit(RLIMIT_FSIZE, &limit);
    }
    if (options_.fault == "shape") {
      const torch::NoGradGuard no_grad;
      net_->ptr<torch::nn::LinearImpl>(0)->weight.set_data(torch::zeros({8, 5}, torch::kDouble));
    }
    if (options_.fault == "extra_log") log("only_here", 1.0, {.sync_dist = true});
  }

  template <typename Metric, typename... Arguments>
  std::shared_ptr<Metric> make_metric(const char* name, const Arguments&... arguments) {
    return register_metric(name, std::make_shared<Metric>(arguments...));
  }

  Options options_;
  int64_t batches_ = 0;
  std::shared_ptr<lightning::metrics::MeanAbsoluteError> train_error_, error_;
  std::shared_ptr<lightning::metrics::AUROC> train_auroc_;
  std::shared_ptr<lightning::metrics::MinMetric> least_;
  torch::nn::Sequential net_{nullptr};
  lightning::nn::BatchNorm norm_{nullptr};
};

class Numbered : public lightning::Dataset {
 public:
  explicit Numbered(int64_t size) : size_(size) {}
  int64_t size() const override { return size_; }
  lightning::Batch get(int64_t index, lightning::SampleContext&) override {
    const auto x =
        torch::linspace(-1, 1, 4, torch::kDouble) * static_cast<double>(index + 1) / 20.0;
    return lightning::Batch({{"x", x},
                             {"y", (x * x).sum().sin().reshape({1})},
                             {"number", torch::tensor(index, torch::kLong)}});
  }

 private:
  int64_t size_;
};

struct RanksDataOptions {
  int64_t size = 44;
  int64_t val_size = 13;
  int64_t global_batch_size = 12;
  /// As the model's: "RANK data.HOOK".
  std::string hooks = "";
};
LIGHTNING_FIELDS(RanksDataOptions, LIGHTNING_FIELD(size, "training samples"),
                 LIGHTNING_FIELD(val_size, "validation samples"),
                 LIGHTNING_FIELD(global_batch_size, "samples per step, over all ranks"),
                 LIGHTNING_FIELD(hooks, "file for the hooks before the fit"))

class RanksData : public lightning::LightningDataModule {
 public:
  using Options = RanksDataOptions;
  explicit RanksData(Options options) : options_(std::move(options)) {
    save_hyperparameters(options_);
  }
  void prepare_data() override { note_hook(options_.hooks, trainer(), "data.prepare_data"); }
  void setup(lightning::Stage) override { note_hook(options_.hooks, trainer(), "data.setup"); }
  lightning::DataLoaders train_dataloader() override { return loader(options_.size, true); }
  lightning::DataLoaders val_dataloader() override { return loader(options_.val_size, false); }
  lightning::DataLoaders test_dataloader() override { return loader(options_.val_size, false); }
  lightning::DataLoaders predict_dataloader() override { return loader(options_.val_size, false); }

 private:
  lightning::DataLoaders loader(int64_t size, bool shuffle) const {
    return std::make_shared<lightning::DataLoader>(
        std::make_shared<Numbered>(size),
        lightning::DataLoaderOptions{
            .global_batch_size = options_.global_batch_size, .shuffle = shuffle, .num_workers = 1});
  }

  Options options_;
};

/// The same module and Trainer twice, on other data and without one parameter the second time.
void fit_twice(const std::string& devices, const std::string& root) {
  lightning::TrainerOptions options;
  options.accelerator = "cpu";
  options.devices = devices;
  options.precision = "64-true";
  options.max_epochs = 2;
  options.enable_progress_bar = options.enable_model_summary = false;
  options.default_root_dir = root;
  lightning::Trainer trainer(options,
                             {std::make_shared<lightning::ModelCheckpoint>(
                                 lightning::ModelCheckpointOptions{.save_last = true})},
                             lightning::Loggers{});
  lightning::seed_everything(3);
  const auto model = std::make_shared<RanksModel>(RanksModelOptions{});
  trainer.fit(model, std::make_shared<RanksData>(RanksDataOptions{}));
  model->named_parameters()["net.0.bias"].set_requires_grad(false);
  lightning::seed_everything(4);
  trainer.fit(model, std::make_shared<RanksData>(RanksDataOptions{.size = 40}));
}

int main(int argc, char** argv) {
  std::printf("pid %d\n", static_cast<int>(::getpid()));
  std::fflush(stdout);
  if (argc == 4 && std::string_view(argv[1]) == "fit_twice") {
    return lightning::run_main([&] {
      fit_twice(argv[2], argv[3]);
      return 0;
    });
  }
  return lightning::cli_main<RanksModel, RanksData>(argc, argv);
}
