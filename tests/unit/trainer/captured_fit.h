// A fit whose messages are looked at.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <lightning/trainer/trainer.h>
#include <lightning/util/error.h>

#include "support/boring_module.h"
#include "support/captured_stderr.h"
#include "support/temporary_folder.h"

namespace lightning_tests {

/// Counts its training batches; logs what it is told to.
class Counting : public BoringModule {
 public:
  lightning::StepOutput training_step(const lightning::Batch& batch, int64_t index) override {
    ++batches;
    if (logs_training) log("train_loss", 1.0);
    return output ? output(index) : BoringModule::training_step(batch, index);
  }
  void on_train_epoch_end() override {
    if (logs_training) log("train_f1", 1.0);
  }
  void validation_step(const lightning::Batch& batch, int64_t index) override {
    BoringModule::validation_step(batch, index);
    if (!trainer().sanity_checking()) log("val_f1", 1.0);
  }
  std::function<lightning::StepOutput(int64_t)> output;
  bool logs_training = true;
  int64_t batches = 0;
};

struct Result {
  std::shared_ptr<Counting> module = std::make_shared<Counting>();
  std::string output;
  std::string error;
  size_t count(const std::string& text) const {
    size_t found = 0;
    for (size_t at = 0; (at = output.find(text, at)) != std::string::npos; ++at) ++found;
    return found;
  }
};

/// Training data of 4 batches; options.default_root_dir is where the run writes.
inline Result fit(const lightning::TrainerOptions& options,
                  const lightning::Callbacks& callbacks = {},
                  const std::shared_ptr<Counting>& module = std::make_shared<Counting>(),
                  lightning::DataLoaders val = boring_loader(4),
                  lightning::DataLoaders train = boring_loader(8),
                  std::optional<lightning::Loggers> loggers = lightning::Loggers{},
                  const std::string& ckpt_path = "") {
  Result result;
  result.module = module;
  const CapturedStderr output;
  try {
    lightning::Trainer trainer(options, callbacks, std::move(loggers));
    trainer.fit(module, std::move(train), std::move(val), {.ckpt_path = ckpt_path});
  } catch (const lightning::Error& error) {
    result.error = error.what();
  }
  result.output = output.text();
  return result;
}

inline lightning::TrainerOptions options_in(const TemporaryFolder& folder) {
  lightning::TrainerOptions options = quiet_options();
  options.default_root_dir = folder.path();
  options.max_epochs = 1;
  return options;
}

}  // namespace lightning_tests
