// What a fit says of its end, and when nothing came of it.
#include <regex>

#include <catch2/catch.hpp>

#include <lightning/accelerators/accelerator.h>
#include <lightning/trainer/trainer.h>

#include "captured_fit.h"
#include "support/skip.h"
#include "support/temporary_folder.h"

namespace {

using lightning::DataLoaders;
using lightning::StepOutput;
using lightning::TrainerOptions;
using lightning_tests::Counting;
using lightning_tests::fit;
using lightning_tests::options_in;
using lightning_tests::Result;

class EmptyStream : public lightning::IterableDataset {
 public:
  explicit EmptyStream(int64_t epochs_with_data) : epochs_(epochs_with_data) {}
  void begin_epoch(int64_t epoch, uint64_t) override { left_ = epoch < epochs_ ? 4 : 0; }
  std::optional<lightning::Batch> next() override {
    if (left_ == 0) return std::nullopt;
    --left_;
    return lightning::Batch({{"x", torch::ones({2})}});
  }
  lightning::StateDict state_dict() const override { return {}; }
  void load_state_dict(const lightning::StateDict&) override {}

 private:
  int64_t epochs_;
  int64_t left_ = 0;
};

}  // namespace

TEST_CASE("Batches without a loss are told apart from batches that were skipped", "[trainer]") {
  TrainerOptions options = quiet_options();
  options.max_epochs = 2;
  const auto module = std::make_shared<Counting>();
  const std::string forgotten = "warning: LightningModule: training_step() returned an undefined";
  const std::string nothing =
      "warning: Trainer: no step was made in epoch 0, since training_step() "
      "returned ";
  SECTION("all undefined") {
    module->output = [](int64_t) { return StepOutput(at::Tensor()); };
    const Result result = fit(options, {}, module);
    CHECK(result.count(forgotten) == 1);
    CHECK(result.count(nothing + "an undefined tensor for 4 of 4 batches") == 1);
  }
  SECTION("all skipped") {
    module->output = [](int64_t) { return StepOutput::skip(); };
    const Result result = fit(options, {}, module);
    CHECK(result.count("undefined") == 0);
    CHECK(result.count(nothing + "StepOutput::skip() for 4 of 4 batches") == 1);
  }
  SECTION("all skipped until the fit stops inside an epoch") {
    module->output = [&](int64_t) {
      module->trainer().request_stop("enough");
      return StepOutput::skip();
    };
    const Result result = fit(options, {}, module);
    CHECK(result.count("warning: Trainer: no step was made, since training_step() returned "
                       "StepOutput::skip() for 1 of 1 batches") == 1);
  }
  SECTION("some of each") {
    module->output = [&](int64_t index) {
      if (index == 0) return StepOutput::skip();
      if (index == 1) return StepOutput(at::Tensor());
      return StepOutput(module->layer->weight.sum());
    };
    const Result result = fit(options, {}, module);
    CHECK(result.count(forgotten) == 1);
    CHECK(result.count("no step was made") == 0);
  }
}

TEST_CASE("A fit that trains nothing says which option is the reason", "[trainer]") {
  TrainerOptions options = quiet_options();
  options.max_epochs = 1;
  std::string reason;
  SECTION("limit_train_batches") {
    options.limit_train_batches = 0;
    reason = "there are no training batches (limit_train_batches is 0)";
  }
  SECTION("limit_train_batches as a share") {
    options.limit_train_batches = 0.0;
    reason = "there are no training batches (limit_train_batches is 0.0)";
  }
  SECTION("max_epochs") {
    options.max_epochs = 0;
    reason = "max_epochs=0 reached";
  }
  SECTION("max_steps") {
    options.max_steps = 0;
    reason = "max_steps=0 reached";
  }
  const Result result = fit(options);
  CHECK(result.module->batches == 0);
  CHECK(result.count("warning: Trainer: nothing was trained: " + reason) == 1);
  CHECK(result.count("fit ended, " + reason + ": 0 steps") == 1);
}

TEST_CASE("A resumed fit that is over already says so", "[trainer]") {
  const lightning_tests::TemporaryFolder folder;
  TrainerOptions options = options_in(folder);
  options.enable_checkpointing = true;
  fit(options);
  const Result result = fit(options, {}, std::make_shared<Counting>(), boring_loader(4),
                            boring_loader(8), lightning::Loggers{}, "last");
  CHECK_THAT(result.output, Catch::Contains("nothing was trained: max_epochs=1 reached, the "
                                            "checkpoint is of epoch 1 and step 4"));
}

TEST_CASE("Why a fit ended is what ended it", "[trainer]") {
  TrainerOptions options = quiet_options();
  options.max_epochs = 2;
  const auto module = std::make_shared<Counting>();
  std::string reason;
  SECTION("max_epochs") { reason = "max_epochs=2 reached: 8 steps"; }
  SECTION("max_steps") {
    options.max_steps = 5;
    reason = "max_steps=5 reached: 5 steps";
  }
  SECTION("a request") {
    module->output = [&](int64_t) {
      module->trainer().request_stop("seen enough");
      return StepOutput(module->layer->weight.sum());
    };
    reason = "seen enough: 1 steps";
  }
  SECTION("a request without a reason") {
    module->output = [&](int64_t) {
      module->trainer().request_stop("");
      return StepOutput(module->layer->weight.sum());
    };
    reason = "a stop was requested: 1 steps";
  }
  SECTION("a request that min_steps held back until the last step") {
    options.min_steps = options.max_steps = 3;
    module->output = [&](int64_t) {
      module->trainer().request_stop("seen enough");
      return StepOutput(module->layer->weight.sum());
    };
    reason = "max_steps=3 reached: 3 steps";
  }
  CHECK_THAT(fit(options, {}, module).output, Catch::Contains("fit ended, " + reason));
}

TEST_CASE("The speed at the end is that of the line's own numbers", "[trainer]") {
  TrainerOptions options = quiet_options();
  options.max_epochs = 5;
  const std::string output = fit(options).output;
  std::smatch match;
  REQUIRE(std::regex_search(
      output, match,
      std::regex(": (\\d+) steps in ([\\d.e+-]+) s \\(([\\d.e+-]+) steps/s in all")));
  CHECK(std::stod(match[3]) == Approx(std::stod(match[1]) / std::stod(match[2])).epsilon(0.001));
}

TEST_CASE("The peak of the memory in tensors is told at the end", "[trainer]") {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  SKIP_TEST("the sanitizers bring an allocator of their own, which counts nothing");
#endif
  TrainerOptions options = quiet_options();
  options.accelerator = "cpu";
  options.max_epochs = 1;
  constexpr int64_t kBytes = 16 << 20;
  const auto module = std::make_shared<Counting>();
  module->output = [&](int64_t) {
    const at::Tensor of_the_step = torch::empty({kBytes}, at::kByte);
    return StepOutput(module->layer->weight.sum());
  };
  lightning::reset_peak_memory(at::kCPU);
  const std::string output = fit(options, {}, module).output;
  std::smatch match;
  REQUIRE(std::regex_search(
      output, match,
      std::regex("Peak memory in tensors of rank 0: ([\\d.]+) MiB \\((\\d+) bytes\\)")));
  const int64_t bytes = std::stoll(match[2]);
  CHECK(bytes >= kBytes);
  CHECK(bytes == lightning::memory_stats(at::kCPU).peak_allocated);
  CHECK(lightning::memory_stats(at::kCPU).allocated < kBytes);
  CHECK(std::stod(match[1]) == Approx(static_cast<double>(bytes) / (1 << 20)).margin(0.06));
}

TEST_CASE("Data that gives no batch is named with its reason", "[trainer]") {
  TrainerOptions options = quiet_options();
  options.max_epochs = 3;
  const auto empty = [] { return boring_loader(0); };
  const auto dropped = [] { return boring_loader(1, {.batch_size = 2, .drop_last = true}); };
  const auto module = std::make_shared<Counting>();
  SECTION("training") {
    CHECK_THAT(fit(options, {}, module, {}, empty()).error,
               Catch::Contains("the data set is empty"));
    CHECK_THAT(fit(options, {}, module, {}, dropped()).error,
               Catch::Contains("drop_last leaves out the only batch"));
  }
  SECTION("validation") {
    const Result result = fit(options, {}, module, empty());
    CHECK(result.error.empty());
    CHECK(result.count("warning: Trainer: the validation ran no batch, since the data set is "
                       "empty") == 1);
    CHECK(fit(options, {}, module, dropped()).count("since drop_last leaves out") == 1);
  }
  SECTION("a stream") {
    const auto stream = [](int64_t epochs) {
      return std::make_shared<lightning::DataLoader>(std::make_shared<EmptyStream>(epochs),
                                                     lightning::DataLoaderOptions{.batch_size = 2});
    };
    CHECK_THAT(fit(options, {}, module, {}, stream(0)).error,
               Catch::Contains("the training data gave no batch in epoch 0"));
    options.max_epochs = -1;
    options.max_steps = 1000;
    const Result result = fit(options, {}, module, {}, stream(1));
    CHECK(result.error.empty());
    CHECK_THAT(result.output, Catch::Contains("fit ended, the training data gave no batch in epoch "
                                              "1: 2 steps"));
  }
  SECTION("evaluations") {
    lightning::Trainer trainer(options, {}, lightning::Loggers{});
    const lightning_tests::CapturedStderr output;
    trainer.validate(module, empty());
    trainer.test(module, dropped());
    trainer.predict(module, empty(), {});
    TrainerOptions none = options;
    none.limit_predict_batches = 0;
    lightning::Trainer(none, {}, lightning::Loggers{}).predict(module, boring_loader(4), {});
    const std::string text = output.text();
    CHECK_THAT(text, Catch::Contains("the validation ran no batch, since the data set is empty") &&
                         Catch::Contains("the test ran no batch, since drop_last leaves out") &&
                         Catch::Contains("the prediction ran no batch, since the data set") &&
                         Catch::Contains("since limit_predict_batches is 0."));
  }
}

TEST_CASE("A fit without a row of metrics says why", "[trainer]") {
  const lightning_tests::TemporaryFolder folder;
  TrainerOptions options = options_in(folder);
  const auto module = std::make_shared<Counting>();
  const auto output = [&](DataLoaders val) {
    return fit(options, {}, module, std::move(val), boring_loader(8), std::nullopt).output;
  };
  module->logs_training = false;
  options.log_every_n_steps = 1;
  CHECK_THAT(output({}), Catch::Contains("no row of metrics was logged, since the module logged "
                                         "nothing"));
  CHECK_THAT(output(boring_loader(4)), !Catch::Contains("no row of metrics"));
}
