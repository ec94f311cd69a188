// Many short trainings on several ranks, each of which one or two ranks ask to stop at a random
// moment. All must stop at the same step, and the resumed training must end with the weights of an
// undisturbed one, to the last bit. The ranks are started once for all trainings.
//
// Usage: stops_program RANKS TRAININGS SEED FOLDER
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <map>
#include <random>
#include <string>
#include <thread>

#include <lightning/lightning.h>
#include <lightning/util/interrupted.h>

namespace {

namespace fs = std::filesystem;

constexpr int64_t kSamples = 41;  // the last global batch is ragged
constexpr int64_t kValSamples = 17;
constexpr int64_t kBatch = 9;  // over all ranks
constexpr int64_t kEpochs = 2;

int64_t batches_of(int64_t samples) { return (samples + kBatch - 1) / kBatch; }

/// What makes one training; the same on all ranks.
struct Plan {
  int64_t accumulate = 1;
  double val_check_interval = 1.0;
  // Who asks: one rank or two, by a signal or by request_stop().
  bool by_signal = false;
  int64_t first_rank = 0;
  int64_t second_rank = -1;
  // When: in this training batch of the run, or in that validation batch.
  bool in_validation = false;
  int64_t moment = 0;

  bool asks(int64_t rank) const { return rank == first_rank || rank == second_rank; }
};

Plan make_plan(std::mt19937_64& random, int64_t ranks) {
  const auto below = [&](int64_t limit) {
    return static_cast<int64_t>(random() % static_cast<uint64_t>(limit));
  };
  Plan plan;
  plan.accumulate = 1 + below(3);
  plan.val_check_interval = below(2) == 0 ? 1.0 : 0.5;
  plan.by_signal = below(2) == 0;
  plan.first_rank = below(ranks);
  if (below(3) == 0) plan.second_rank = below(ranks);
  plan.in_validation = below(4) == 0;
  // Up to the last step, or the last batch of the last validation.
  const int64_t validations = plan.val_check_interval == 1.0 ? kEpochs : 2 * kEpochs;
  plan.moment = below(plan.in_validation ? validations * batches_of(kValSamples)
                                         : kEpochs * batches_of(kSamples));
  return plan;
}

class Model : public lightning::LightningModule {
 public:
  /// Without a plan nothing happens. `random` is this rank's own.
  Model(const Plan* plan, std::mt19937_64* random) : plan_(plan), random_(random) {
    using namespace torch::nn;
    net_ = register_module("net", Sequential(Linear(4, 8), Tanh(), Dropout(0.2), Linear(8, 1)));
  }
  lightning::StepOutput training_step(const lightning::Batch& batch, int64_t) override {
    wait();
    ask(/*in_validation=*/false, trained_++);
    const auto loss = torch::mse_loss(net_->forward(batch["x"]), batch["y"]);
    log("loss", loss, {.on_step = true, .on_epoch = true});
    return loss;
  }
  void validation_step(const lightning::Batch& batch, int64_t) override {
    wait();
    ask(/*in_validation=*/true, validated_++);
    log("val_loss", torch::mse_loss(net_->forward(batch["x"]), batch["y"]));
  }
  lightning::OptimizerList configure_optimizers() override {
    return std::make_shared<lightning::optim::AdamW>(parameters(),
                                                     torch::optim::AdamWOptions(0.02));
  }
  lightning::DataLoaders train_dataloader() override { return loader(kSamples, /*shuffle=*/true); }
  lightning::DataLoaders val_dataloader() override {
    return loader(kValSamples, /*shuffle=*/false);
  }

 private:
  static lightning::DataLoaders loader(int64_t size, bool shuffle) {
    const auto x = torch::linspace(-1, 1, size * 4).reshape({size, 4});
    return std::make_shared<lightning::DataLoader>(
        std::make_shared<lightning::TensorDataset>(
            lightning::Batch({{"x", x}, {"y", x.sum(1, true).sin()}})),
        lightning::DataLoaderOptions{
            .global_batch_size = kBatch, .shuffle = shuffle, .num_workers = 0});
  }
  // Steps from 50 microseconds to half a millisecond, another on each rank.
  void wait() {
    if (random_ == nullptr) return;
    std::this_thread::sleep_for(std::chrono::microseconds(50 + (*random_)() % 450));
  }
  void ask(bool in_validation, int64_t moment) {
    if (plan_ == nullptr || plan_->in_validation != in_validation || plan_->moment != moment ||
        !plan_->asks(trainer().global_rank())) {
      return;
    }
    if (plan_->by_signal) {
      ::raise(SIGTERM);
    } else {
      trainer().request_stop("asked for");
    }
  }

  const Plan* plan_;
  std::mt19937_64* random_;
  torch::nn::Sequential net_{nullptr};
  int64_t trained_ = 0;
  int64_t validated_ = 0;
};

class Tester {
 public:
  Tester(int64_t ranks, uint64_t seed, fs::path folder)
      : ranks_(ranks), plans_(seed), folder_(std::move(folder)) {}

  /// Returns whether the training was stopped before its end.
  bool test(int64_t number) {
    const Plan plan = make_plan(plans_, ranks_);
    const auto& expected = reference(plan);
    const fs::path root = folder_ / std::to_string(number);
    auto trainer = make_trainer(plan, root);
    bool stopped = false;
    auto model = fit(*trainer, &plan, "", &stopped);
    const std::string where = lightning::detail::concat(
        trainer->global_step(), "/", trainer->current_epoch(), stopped ? " by a signal" : "");
    for (const std::string& other : trainer->all_gather_bytes("where", where)) {
      if (other != where) fail(number, plan, "stopped at " + where + " and " + other);
    }
    // A signal isn't lost, in the last step neither.
    if (stopped != plan.by_signal) fail(number, plan, "stopped at " + where);
    if (trainer->global_step() < total_steps(plan)) {
      stopped = true;
      trainer = make_trainer(plan, root);
      model = fit(*trainer, nullptr, "last", nullptr);
    }
    if (!equal(model->parameters(), expected)) fail(number, plan, "other weights");
    if (trainer->global_rank() == 0) fs::remove_all(root);
    return stopped;
  }

 private:
  using Weights = std::vector<at::Tensor>;

  std::unique_ptr<lightning::Trainer> make_trainer(const Plan& plan, const fs::path& root) const {
    lightning::TrainerOptions options;
    options.accelerator = "cpu";
    options.devices = ranks_;
    options.max_epochs = kEpochs;
    options.accumulate_grad_batches = plan.accumulate;
    options.val_check_interval = plan.val_check_interval;
    options.num_sanity_val_steps = 0;
    options.enable_progress_bar = options.enable_model_summary = false;
    options.default_root_dir = root;
    return std::make_unique<lightning::Trainer>(
        options,
        lightning::Callbacks{std::make_shared<lightning::ModelCheckpoint>(
            lightning::ModelCheckpointOptions{.save_last = true, .every_n_train_steps = 1})},
        lightning::Loggers{});
  }

  std::shared_ptr<Model> fit(lightning::Trainer& trainer, const Plan* plan,
                             const std::string& ckpt_path, bool* stopped) {
    lightning::seed_everything(5);
    auto model = std::make_shared<Model>(plan, plan == nullptr ? nullptr : &delays_);
    try {
      trainer.fit(model, {}, {}, {.ckpt_path = ckpt_path});
    } catch (const lightning::Interrupted&) {
      if (stopped == nullptr) throw;
      *stopped = true;
    }
    return model;
  }

  static int64_t total_steps(const Plan& plan) {
    const int64_t batches = batches_of(kSamples);
    return kEpochs * ((batches + plan.accumulate - 1) / plan.accumulate);
  }

  const Weights& reference(const Plan& plan) {
    auto [found, fresh] =
        references_.try_emplace({plan.accumulate, plan.val_check_interval == 1.0});
    if (fresh) {
      auto trainer = make_trainer(plan, folder_ / "reference");
      found->second = fit(*trainer, nullptr, "", nullptr)->parameters();
    }
    return found->second;
  }

  static bool equal(const Weights& a, const Weights& b) {
    for (size_t i = 0; i < a.size(); ++i) {
      if (!a[i].equal(b[i])) return false;
    }
    return a.size() == b.size();
  }

  [[noreturn]] static void fail(int64_t number, const Plan& plan, const std::string& what) {
    throw std::runtime_error(lightning::detail::concat(
        "training ", number, ": ", what, " (accumulate ", plan.accumulate, ", interval ",
        plan.val_check_interval, ", ", plan.by_signal ? "signal" : "request", " of ranks ",
        plan.first_rank, " and ", plan.second_rank, " in ",
        plan.in_validation ? "validation" : "training", " batch ", plan.moment, ")"));
  }

  int64_t ranks_;
  std::mt19937_64 plans_;
  std::mt19937_64 delays_{static_cast<uint64_t>(::getpid())};
  fs::path folder_;
  std::map<std::pair<int64_t, bool>, Weights> references_;
};

int run(char** arguments) {
  const int64_t trainings = std::stoll(arguments[2]);
  Tester tester(std::stoll(arguments[1]), std::stoull(arguments[3]), arguments[4]);
  int64_t stopped = 0;
  for (int64_t number = 0; number < trainings; ++number) stopped += tester.test(number) ? 1 : 0;
  std::printf("%d of %d trainings were stopped and resumed\n", static_cast<int>(stopped),
              static_cast<int>(trainings));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  return lightning::run_main([&] { return argc == 5 ? run(argv) : 2; });
}
