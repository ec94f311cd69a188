#include <lightning/callbacks/progress_bar.h>

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

#include <lightning/util/detail/terminal.h>
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

/// 12.5 steps/s, 2.00 s/step, 3.0 batches/s.
std::string format_speed(double per_second, std::string_view unit) {
  if (per_second > 0.0 && per_second < 1.0) {
    return detail::concat(format_text("%.2f s/", 1.0 / per_second), unit);
  }
  const char* plural = unit.ends_with("ch") ? "es" : "s";
  return detail::concat(format_text("%.1f ", per_second), unit, plural, "/s");
}

size_t terminal_width() {
  winsize size = {};
  const bool known = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? size.ws_col : 80;
}

void write_out(const std::string& text) { detail::write_to_stderr(text); }

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
  text += " | " + format_speed(line.steps_per_second.value_or(line.batches_per_second),
                               line.steps_per_second ? "step" : "batch");
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
  ended_.clear();
  waiting_.clear();
  last_shown_ = Clock::now();
  if (!enabled_ || !on_terminal_ || previous_sink_) return;
  previous_sink_ = set_log_sink([this](std::string_view text) {
    const std::lock_guard lock(mutex_);
    clear_line();
    write_out(std::exchange(waiting_, {}) + std::string(text) + "\n");
  });
}

void ProgressBar::teardown(TrainerContext&, LightningModule&, Stage) {
  {
    const std::lock_guard lock(mutex_);
    clear_line();
    // Epochs of a fit that didn't come to its end.
    if (on_terminal_ && !waiting_.empty()) write_out(std::exchange(waiting_, {}));
  }
  if (previous_sink_) set_log_sink(std::exchange(previous_sink_, nullptr));
}

void ProgressBar::begin(Pass& pass, std::string title, int64_t first) {
  pass = {std::move(title), first, first, 0, Clock::now(), {}};
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
  training_.first_step = trainer.global_step();
}

void ProgressBar::on_train_batch_end(TrainerContext& trainer, LightningModule&, const StepOutput&,
                                     const Batch&, int64_t batch_idx) {
  training_.done = batch_idx + 1;
  if (is_due()) draw(trainer, line_of(trainer, training_, trainer.num_training_batches()));
}

void ProgressBar::on_train_epoch_end(TrainerContext& trainer, LightningModule&) {
  if (!std::exchange(training_active_, false) || !enabled_) return;
  ended_ = line_of(trainer, training_, trainer.num_training_batches());
  const Clock::duration shortest =
      on_terminal_ ? Clock::duration(options_.refresh_interval)
                   : std::min<Clock::duration>(std::chrono::seconds(1), options_.line_interval);
  const Clock::time_point now = Clock::now();
  bool waits = false;
  {
    const std::lock_guard lock(mutex_);
    if (now - training_.started >= shortest) waiting_ += ended_ + "\n";
    waits = !waiting_.empty();
  }
  if (waits && now - last_shown_ >= shortest) leave_ended(trainer);
}

void ProgressBar::on_train_end(TrainerContext& trainer, LightningModule&) {
  if (!enabled_ || ended_.empty()) return;
  {
    const std::lock_guard lock(mutex_);
    if (!waiting_.ends_with(ended_ + "\n")) waiting_ += ended_ + "\n";
  }
  leave_ended(trainer);
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
  const std::lock_guard lock(mutex_);
  clear_line();
}

void ProgressBar::on_test_start(TrainerContext&, LightningModule&) {
  begin(evaluation_, "Test", 0);
}

void ProgressBar::on_test_batch_end(TrainerContext& trainer, LightningModule&, const Batch&,
                                    int64_t batch_idx) {
  evaluated(trainer, batch_idx);
}

void ProgressBar::on_test_end(TrainerContext&, LightningModule&) {
  const std::lock_guard lock(mutex_);
  clear_line();
}

void ProgressBar::on_predict_start(TrainerContext&, LightningModule&) {
  begin(evaluation_, "Prediction", 0);
}

void ProgressBar::on_predict_batch_end(TrainerContext& trainer, LightningModule&, const Batch&,
                                       const Batch&, int64_t batch_idx) {
  evaluated(trainer, batch_idx);
}

void ProgressBar::on_predict_end(TrainerContext&, LightningModule&) {
  const std::lock_guard lock(mutex_);
  clear_line();
}

void ProgressBar::evaluated(TrainerContext& trainer, int64_t batch_idx) {
  evaluation_.done = batch_idx + 1;
  if (is_due()) draw(trainer, line_of(trainer, evaluation_, trainer.num_evaluation_batches()));
}

bool ProgressBar::is_due() const {
  if (!enabled_) return false;
  const Clock::duration passed = Clock::now() - last_shown_;
  return on_terminal_ ? passed >= options_.refresh_interval : passed >= options_.line_interval;
}

std::string ProgressBar::line_of(TrainerContext& trainer, const Pass& pass,
                                 std::optional<int64_t> total) const {
  const std::chrono::duration<double> seconds = Clock::now() - pass.started - pass.paused;
  const auto per_second = [&seconds](int64_t count) {
    return seconds.count() > 0.0 ? static_cast<double>(count) / seconds.count() : 0.0;
  };
  ProgressLine line;
  line.title = pass.title;
  line.done = pass.done;
  line.total = total;
  line.batches_per_second = per_second(pass.done - pass.first);
  if (&pass == &training_) {
    line.steps_per_second = per_second(trainer.global_step() - pass.first_step);
    line.metrics = trainer.progress_bar_metrics();
  }
  return format_progress(line, on_terminal_ ? terminal_width() - 1 : 0);
}

void ProgressBar::draw(TrainerContext& trainer, const std::string& line) {
  last_shown_ = Clock::now();
  ended_.clear();
  if (!on_terminal_) {
    trainer.print(std::exchange(waiting_, {}) + line);
    return;
  }
  const std::lock_guard lock(mutex_);
  // In one piece, so that nothing flickers.
  write_out("\r\033[K" + std::exchange(waiting_, {}) + line);
  drawn_ = true;
}

void ProgressBar::leave_ended(TrainerContext& trainer) {
  last_shown_ = Clock::now();
  ended_.clear();
  if (!on_terminal_) {
    waiting_.pop_back();  // print() ends the line
    trainer.print(std::exchange(waiting_, {}));
    return;
  }
  const std::lock_guard lock(mutex_);
  clear_line();
  write_out(std::exchange(waiting_, {}));
}

void ProgressBar::clear_line() {
  if (std::exchange(drawn_, false)) write_out("\r\033[K");
}

}  // namespace lightning
