#include <lightning/core/lightning_data_module.h>

#include <lightning/util/error.h>

namespace lightning {

LightningDataModule::LightningDataModule() = default;
LightningDataModule::~LightningDataModule() = default;

TrainerContext& LightningDataModule::trainer() const {
  LIGHTNING_CHECK(trainer_ != nullptr, ConfigError,
                  "LightningDataModule: no Trainer runs this data module, trainer() needs one. "
                  "HINT: call it from setup() or a loader function.");
  return *trainer_;
}

}  // namespace lightning
