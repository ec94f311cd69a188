#include "examples/callbacks/slurm_ids.h"

#include <unistd.h>

#include <array>
#include <cstdlib>
#include <sstream>
#include <string>

#include <lightning/accelerators/accelerator.h>

namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return std::string(name) + " " + (value != nullptr ? value : "not set");
}

std::string host_name() {
  std::array<char, 256> name = {};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "an unknown host";
}

}  // namespace

void SlurmIds::on_train_start(lightning::TrainerContext& trainer, lightning::LightningModule&) {
  std::ostringstream own;
  own << variable("SLURM_JOB_ID") << ", " << variable("SLURM_PROCID") << ", " << trainer.device()
      << " (" << lightning::device_name(trainer.device()) << ") on " << host_name();
  // Printed by each rank for itself, lines would come in any order and mix.
  const auto all = trainer.all_gather_bytes("SlurmIds", own.str());
  for (size_t rank = 0; rank < all.size(); ++rank) {
    trainer.print("rank " + std::to_string(rank) + ": " + all[rank]);
  }
}
