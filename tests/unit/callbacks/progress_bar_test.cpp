#include <chrono>
#include <cmath>
#include <regex>
#include <string>
#include <thread>

#include <catch2/catch.hpp>

#include <lightning/callbacks/progress_bar.h>
#include <lightning/trainer/trainer.h>
#include <lightning/util/error.h>

#include "support/boring_module.h"
#include "support/stderr_stream.h"

using lightning::format_progress;
using lightning::ProgressLine;
using lightning_tests::StderrStream;

namespace {

constexpr const char* kRedraw = "\r\033[K";

/// What is seen in a fit's output.
struct Shown {
  std::string text;
  double seconds = 0.0;

  int64_t count(const std::string& what) const {
    int64_t found = 0;
    for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += what.size()) ++found;
    return found;
  }
};

Shown fit(bool on_terminal, lightning::TrainerOptions options,
          const std::shared_ptr<lightning::LightningModule>& module, int64_t samples) {
  options.enable_progress_bar = true;
  lightning::Trainer trainer(options, {}, lightning::Loggers{});
  const auto began = std::chrono::steady_clock::now();
  StderrStream captured(on_terminal);
  trainer.fit(module, boring_loader(samples));
  Shown shown;
  shown.text = captured.finish();
  shown.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  return shown;
}

/// Each step takes a while, so that bars are due.
class Slow : public BoringModule {
 public:
  lightning::StepOutput training_step(const lightning::Batch& batch, int64_t index) override {
    std::this_thread::sleep_for(std::chrono::milliseconds(60));
    log("shown", 0.25, {.prog_bar = true});
    log("hidden", 0.75);
    if (talks) print(lightning::detail::concat("a line of step ", index));
    return BoringModule::training_step(batch, index);
  }
  bool talks = false;
};

}  // namespace

TEST_CASE("A progress line says place, speed, time left and metrics", "[callbacks]") {
  ProgressLine line{.title = "Epoch 1/2",
                    .done = 450,
                    .total = 1000,
                    .batches_per_second = 10.0,
                    .metrics = {{"train_loss", 0.12345}}};
  CHECK(format_progress(line, 0) ==
        "Epoch 1/2:  45% |#########           | 450/1000 | 10.0 batches/s | 0:55 left | "
        "train_loss=0.1235");
  CHECK(format_progress(line, 20).size() == 20);
  // With accumulation over 4 batches; the time left doesn't change.
  line.steps_per_second = 2.5;
  CHECK(format_progress(line, 0) ==
        "Epoch 1/2:  45% |#########           | 450/1000 | 2.5 steps/s | 0:55 left | "
        "train_loss=0.1235");
}

TEST_CASE("A progress line of unknown length has no share and no time left", "[callbacks]") {
  ProgressLine line{
      .title = "Epoch 1", .done = 7, .total = {}, .batches_per_second = 0.5, .metrics = {}};
  CHECK(format_progress(line, 0) == "Epoch 1: 7 | 2.00 s/batch");
  line.steps_per_second = 0.25;
  CHECK(format_progress(line, 0) == "Epoch 1: 7 | 4.00 s/step");
}

TEST_CASE("On a terminal nothing is drawn more often than ten times a second", "[callbacks]") {
  lightning::TrainerOptions options = quiet_options();
  options.max_epochs = 3000;
  options.num_sanity_val_steps = 0;
  const Shown shown = fit(true, options, std::make_shared<BoringModule>(), /*samples=*/2);
  // Each drawing names its epoch; the fit's last one is always there.
  const int64_t drawings = shown.count("Epoch ");
  CAPTURE(shown.seconds, drawings);
  CHECK(drawings >= 1);
  CHECK(drawings <= 2 * (static_cast<int64_t>(shown.seconds * 10.0) + 1) + 1);
  CHECK(shown.text.find("Epoch 3000/3000: 100%") != std::string::npos);
}

TEST_CASE("Elsewhere short epochs leave one plain line, the last", "[callbacks]") {
  lightning::TrainerOptions options = quiet_options();
  options.max_epochs = 300;
  const Shown shown = fit(false, options, std::make_shared<BoringModule>(), /*samples=*/2);
  CHECK(shown.text.find('\r') == std::string::npos);
  CHECK(shown.text.find('\033') == std::string::npos);
  CHECK(std::regex_search(shown.text,
                          std::regex("\nEpoch 300/300: 100% \\|#{20}\\| 1/1 \\| [0-9.]+ steps/s "
                                     "\\| 0:00 left\n")));
  // A line each second at most, and one each ten seconds.
  CHECK(shown.count("Epoch ") <= 2 * (static_cast<int64_t>(shown.seconds) + 1));
}

TEST_CASE("The bar shows steps per second and what was logged for it", "[callbacks]") {
  lightning::TrainerOptions options = quiet_options();
  options.max_epochs = 1;
  options.accumulate_grad_batches = 4;
  const bool on_terminal = GENERATE(false, true);
  const Shown shown = fit(on_terminal, options, std::make_shared<Slow>(), /*samples=*/16);
  CHECK(shown.text.find("shown=0.25") != std::string::npos);
  CHECK(shown.text.find("hidden") == std::string::npos);
  // 8 batches of 60 ms and more are 2 steps: at most 4.2 steps, but up to 16.7 batches a second.
  const std::regex last("8/8 \\| ([0-9.]+) (steps/s|s/step)");
  std::smatch match;
  REQUIRE(std::regex_search(shown.text, match, last));
  if (match[2] == "steps/s") CHECK(std::stod(match[1]) <= 4.3);
}

TEST_CASE("Log lines don't tear the bar", "[callbacks]") {
  lightning::TrainerOptions options = quiet_options();
  options.max_epochs = 1;
  const auto module = std::make_shared<Slow>();
  module->talks = true;
  const Shown shown = fit(true, options, module, /*samples=*/16);
  CHECK(shown.count(std::string(kRedraw) + "Epoch 1/1") >= 2);  // at 120 ms and 240 ms
  for (int step = 0; step < 8; ++step) {
    const std::string line = lightning::detail::concat("a line of step ", step, "\r\n");
    const size_t at = shown.text.find(line);
    REQUIRE(at != std::string::npos);
    // It begins at the left, on a line that holds nothing else.
    const std::string before = shown.text.substr(0, at);
    CHECK((before.ends_with("\n") || before.ends_with(kRedraw)));
  }
  // What is left of the bar is its final state.
  CHECK(std::regex_search(shown.text, std::regex("(\n|\033\\[K)Epoch 1/1: 100%[^\r\n]*\r\n")));
}
