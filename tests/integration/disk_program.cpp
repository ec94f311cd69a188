// A whole program whose disk fails where the environment variable LIGHTNING_TEST_DISK says
// ("write:3:28:checkpoints"): calls of that kind (kDiskCallNames) on paths which contain the last
// part fail with the error number 28, from the fourth (number 3) on.
#include <cstdlib>
#include <sstream>

#include <lightning/lightning.h>
#include <lightning/util/error.h>

#include "support/boring_module.h"
#include "support/faulty_file_system.h"

namespace {

struct DiskModelOptions {
  double learning_rate = 0.1;
};
LIGHTNING_FIELDS(DiskModelOptions, LIGHTNING_FIELD(learning_rate, "learning rate"))

class DiskModel : public BoringModule {
 public:
  using Options = DiskModelOptions;
  explicit DiskModel(Options options) : options_(options) { save_hyperparameters(options); }

  lightning::StepOutput training_step(const lightning::Batch& batch, int64_t index) override {
    const lightning::StepOutput output = BoringModule::training_step(batch, index);
    log("train_loss", output.loss);
    return output;
  }
  lightning::OptimizerList configure_optimizers() override {
    return std::make_shared<lightning::optim::Adam>(
        parameters(), torch::optim::AdamOptions(options_.learning_rate));
  }
  lightning::DataLoaders train_dataloader() override { return boring_loader(8); }

 private:
  Options options_;
};

void set_faults(lightning_tests::FaultyFileSystem& disk, const std::string& text) {
  std::istringstream words(text);
  std::string kind, from, error, part;
  std::getline(words, kind, ':');
  std::getline(words, from, ':');
  std::getline(words, error, ':');
  std::getline(words, part);
  const auto& names = lightning_tests::kDiskCallNames;
  const auto found = std::find(names.begin(), names.end(), kind);
  if (found == names.end()) throw lightning::ConfigError("LIGHTNING_TEST_DISK is " + text);
  disk.fail_at(part, static_cast<lightning_tests::DiskCall>(found - names.begin()),
               std::stoll(from), std::stoi(error));
}

}  // namespace

int main(int argc, char** argv) {
  lightning_tests::FaultyFileSystem disk;
  const char* faults = std::getenv("LIGHTNING_TEST_DISK");
  if (faults != nullptr) set_faults(disk, faults);
  const lightning::ScopedFileSystem scope(disk);
  return lightning::cli_main<DiskModel>(argc, argv);
}
