#include "examples/callbacks/training_time.h"

#include <array>
#include <cstdio>
#include <ctime>
#include <string>

namespace {

std::string now() {
  const std::time_t seconds = std::time(nullptr);
  std::tm local = {};
  ::localtime_r(&seconds, &local);
  std::array<char, 32> text = {};
  std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S", &local);
  return text.data();
}

std::string minutes_and_seconds(double seconds) {
  const int minutes = static_cast<int>(seconds / 60.0);
  std::array<char, 48> text = {};
  std::snprintf(text.data(), text.size(), "%d min %.2f s", minutes, seconds - 60.0 * minutes);
  return text.data();
}

}  // namespace

void TrainingTime::on_train_start(lightning::TrainerContext& trainer, lightning::LightningModule&) {
  start_ = std::chrono::steady_clock::now();
  trainer.print("Training started: " + now());
}

void TrainingTime::on_train_end(lightning::TrainerContext& trainer, lightning::LightningModule&) {
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start_;
  trainer.print("Training finished: " + now());
  trainer.print("Total training time: " + minutes_and_seconds(taken.count()));
}
