#include <regex>
#include <string>

#include <catch2/catch.hpp>

#include <lightning/trainer/trainer.h>
#include <lightning/util/log.h>

#include "support/boring_module.h"

namespace {

/// What is logged while it lives.
class CapturedLog {
 public:
  CapturedLog() {
    previous_ =
        lightning::set_log_sink([this](std::string_view line) { text.append(line).append("\n"); });
  }
  ~CapturedLog() { lightning::set_log_sink(std::move(previous_)); }
  CapturedLog(const CapturedLog&) = delete;
  CapturedLog& operator=(const CapturedLog&) = delete;
  /// The value in the row of an option; empty when there is no such row.
  std::string row(const std::string& option) const {
    std::smatch match;
    const std::regex line("(^|\n)" + option + "  +([^\n]*)");
    return std::regex_search(text, match, line) ? match[2].str() : "";
  }
  std::string text;

 private:
  lightning::LogSink previous_;
};

}  // namespace

TEST_CASE("The table at the start shows what the options came to", "[trainer]") {
  class Stops : public BoringModule {
    void on_train_batch_end(const lightning::StepOutput&, const lightning::Batch&,
                            int64_t) override {
      trainer().request_stop("seen enough");
    }
  };
  lightning::TrainerOptions options = quiet_options();
  options.accelerator = "auto";
  options.devices = 1;
  options.precision = "16-mixed";
  options.gradient_clip_val = 0.5;
  lightning::Trainer trainer(options, {}, lightning::Loggers{});
  const bool on_cpu = trainer.options().device.is_cpu();
  const CapturedLog log;
  trainer.fit(std::make_shared<Stops>(), boring_loader());
  CAPTURE(log.text);
  CHECK(log.row("precision") == (on_cpu ? "bf16-mixed" : "16-mixed"));
  CHECK(log.row("max_epochs") == "1000");
  CHECK(log.row("max_steps") == "-1");
  CHECK(log.row("accelerator") == (on_cpu ? "cpu" : "cuda"));
  CHECK(log.row("devices") == "1");
  CHECK(log.row("num_nodes") == "1");
  CHECK(log.row("world size") == "1");
  CHECK(log.row("strategy") == "single_device");
  CHECK(log.row("gradient_clip_val") == "0.5");
  CHECK(log.row("accumulate_grad_batches").empty());  // the default
}

TEST_CASE("The table at the start shows no limit of epochs when steps are the limit", "[trainer]") {
  lightning::TrainerOptions options = quiet_options();
  options.max_steps = 2;
  lightning::Trainer trainer(options, {}, lightning::Loggers{});
  const CapturedLog log;
  trainer.fit(std::make_shared<BoringModule>(), boring_loader());
  CHECK(log.row("max_steps") == "2");
  CHECK(log.row("max_epochs") == "-1");
}
