#include <lightning/callbacks/progress_bar.h>

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

#include <lightning/util/error.h>

namespace lightning {
namespace {

std::string format_text(const char* format, auto... values) {
  char text[96];
  std::snprintf(text, sizeof(text), format, values...);
  return text;
}

/// 0:07, 12:30, 3:05:00.
std::string format_time(double seconds) {
  const auto s = static_cast<int64_t>(std::llround(seconds));
  if (s >= 3600) {
    return format_text("%lld:%02lld:%02lld", static_cast<long long>(s / 3600),
                       static_cast<long long>(s / 60 % 60), static_cast<long long>(s % 60));
  }
  return format_text("%lld:%02lld", static_cast<long long>(s / 60), static_cast<long long>(s % 60));
}

size_t terminal_width() {
  winsize size = {};
  const bool known = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? size.ws_col : 80;
}

void write_out(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

}  // namespace

std::string format_progress(const ProgressLine& line, size_t width) {
  static constexpr int64_t kBarWidth = 20;
  std::string text = line.title + ": ";
  if (line.total && *line.total > 0) {
    const int64_t done = std::min(line.done, *line.total);
    const auto filled = static_cast<size_t>(kBarWidth * done / *line.total);
    text += format_text("%3lld%% |", static_cast<long long>(100 * done / *line.total));
    text += std::string(filled, '#') + std::string(kBarWidth - filled, ' ') + "| ";
    text += detail::concat(line.done, "/", *line.total);
  } else {
    text += detail::concat(line.done);
  }
  text += line.batches_per_second >= 1.0 || line.batches_per_second == 0.0
              ? format_text(" | %.1f it/s", line.batches_per_second)
              : format_text(" | %.2f s/it", 1.0 / line.batches_per_second);
  if (line.total && line.batches_per_second > 0.0) {
    const double left = static_cast<double>(std::max<int64_t>(*line.total - line.done, 0));
    text += " | " + format_time(left / line.batches_per_second) + " left";
  }
  for (const auto& [name, value] : line.metrics) {
    text += detail::concat(" | ", name, "=", format_text("%.4g", value));
  }
  if (width > 0 && text.size() > width) text.resize(width);
  return text;
}

ProgressBar::ProgressBar(ProgressBarOptions options) : options_(options) {
  LIGHTNING_CHECK(options_.refresh_interval >= std::chrono::milliseconds(100), ConfigError,
                  "ProgressBar: refresh_interval is ", options_.refresh_interval.count(),
                  " ms, expected at least 100 ms.");
  LIGHTNING_CHECK(options_.line_interval.count() > 0, ConfigError, "ProgressBar: line_interval is ",
                  options_.line_interval.count(), " s, expected a positive time.");
}

ProgressBar::~ProgressBar() {
  if (previous_sink_) set_log_sink(std::move(previous_sink_));
}

void ProgressBar::setup(TrainerContext& trainer, LightningModule&, Stage) {
  enabled_ = trainer.is_global_zero();
  on_terminal_ = ::isatty(STDERR_FILENO) == 1;
  training_active_ = false;
  if (!enabled_ || !on_terminal_ || previous_sink_) return;
  previous_sink_ = set_log_sink([this](std::string_view text) {
    clear_line();
    write_out(std::string(text) + "\n");
  });
}

void ProgressBar::teardown(TrainerContext&, LightningModule&, Stage) {
  clear_line();
  if (previous_sink_) set_log_sink(std::exchange(previous_sink_, nullptr));
}

void ProgressBar::begin(Pass& pass, std::string title, int64_t first) {
  pass = {std::move(title), first, first, Clock::now(), {}};
  last_shown_ = pass.started;
}

void ProgressBar::on_train_epoch_start(TrainerContext&, LightningModule&) {
  training_active_ = false;
}

void ProgressBar::on_train_batch_start(TrainerContext& trainer, LightningModule&, const Batch&,
                                       int64_t batch_idx) {
  // Not in on_train_epoch_start(): a run that resumes in the middle of an epoch begins here.
  if (std::exchange(training_active_, true)) return;
  std::string title = detail::concat("Epoch ", trainer.current_epoch() + 1);
  if (trainer.max_epochs()) title += detail::concat("/", *trainer.max_epochs());
  begin(training_, std::move(title), batch_idx);
}

void ProgressBar::on_train_batch_end(TrainerContext& trainer, LightningModule&, const StepOutput&,
                                     const Batch&, int64_t batch_idx) {
  training_.done = batch_idx + 1;
  if (is_due()) show(trainer, training_, trainer.num_training_batches(), /*last=*/false);
}

void ProgressBar::on_train_epoch_end(TrainerContext& trainer, LightningModule&) {
  if (training_active_) show(trainer, training_, trainer.num_training_batches(), /*last=*/true);
  training_active_ = false;
}

void ProgressBar::on_validation_start(TrainerContext& trainer, LightningModule&) {
  evaluation_began_ = Clock::now();
  begin(evaluation_, trainer.sanity_checking() ? "Sanity check" : "Validation", 0);
}

void ProgressBar::on_validation_batch_end(TrainerContext& trainer, LightningModule&, const Batch&,
                                          int64_t batch_idx) {
  evaluated(trainer, batch_idx);
}

void ProgressBar::on_validation_end(TrainerContext& trainer, LightningModule&) {
  if (trainer.stage() == Stage::kFit) training_.paused += Clock::now() - evaluation_began_;
  clear_line();
}

void ProgressBar::on_test_start(TrainerContext&, LightningModule&) {
  begin(evaluation_, "Test", 0);
}

void ProgressBar::on_test_batch_end(TrainerContext& trainer, LightningModule&, const Batch&,
                                    int64_t batch_idx) {
  evaluated(trainer, batch_idx);
}

void ProgressBar::on_test_end(TrainerContext&, LightningModule&) { clear_line(); }

void ProgressBar::on_predict_start(TrainerContext&, LightningModule&) {
  begin(evaluation_, "Prediction", 0);
}

void ProgressBar::on_predict_batch_end(TrainerContext& trainer, LightningModule&, const Batch&,
                                       const Batch&, int64_t batch_idx) {
  evaluated(trainer, batch_idx);
}

void ProgressBar::on_predict_end(TrainerContext&, LightningModule&) { clear_line(); }

void ProgressBar::evaluated(TrainerContext& trainer, int64_t batch_idx) {
  evaluation_.done = batch_idx + 1;
  if (is_due()) show(trainer, evaluation_, trainer.num_evaluation_batches(), /*last=*/false);
}

bool ProgressBar::is_due() const {
  if (!enabled_) return false;
  const Clock::duration passed = Clock::now() - last_shown_;
  return on_terminal_ ? passed >= options_.refresh_interval : passed >= options_.line_interval;
}

void ProgressBar::show(TrainerContext& trainer, const Pass& pass, std::optional<int64_t> total,
                       bool last) {
  if (!enabled_) return;
  const std::chrono::duration<double> seconds = Clock::now() - pass.started - pass.paused;
  ProgressLine line;
  line.title = pass.title;
  line.done = pass.done;
  line.total = total;
  if (seconds.count() > 0.0) {
    line.batches_per_second = static_cast<double>(pass.done - pass.first) / seconds.count();
  }
  if (&pass == &training_) line.metrics = trainer.progress_bar_metrics();
  last_shown_ = Clock::now();
  if (!on_terminal_) {
    trainer.print(format_progress(line, 0));
    return;
  }
  const std::string text = format_progress(line, terminal_width() - 1);
  if (last) {
    clear_line();
    write_out(text + "\n");
  } else {
    write_out("\r\033[K" + text);
    drawn_ = text;
  }
}

void ProgressBar::clear_line() {
  if (drawn_.empty()) return;
  write_out("\r\033[K");
  drawn_.clear();
}

}  // namespace lightning
