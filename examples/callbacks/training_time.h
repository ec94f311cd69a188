/// TrainingTime: when training starts and ends, and how long it took.
#pragma once

#include <chrono>

#include <lightning/callbacks/callback.h>

/// On rank 0:
///   Training started: 2026-03-14 15:09:26
///   Training finished: 2026-03-14 17:17:32
///   Total training time: 128 min 6.72 s
class TrainingTime : public lightning::Callback {
 public:
  void on_train_start(lightning::TrainerContext& trainer, lightning::LightningModule&) override;
  void on_train_end(lightning::TrainerContext& trainer, lightning::LightningModule&) override;

 private:
  // Not the wall clock: that may be set during training.
  std::chrono::steady_clock::time_point start_;
};
