#include <lightning/core/lightning_data_module.h>

#include <lightning/util/error.h>

namespace lightning {

LightningDataModule::LightningDataModule() = default;
LightningDataModule::~LightningDataModule() = default;

Batch LightningDataModule::on_before_batch_transfer(Batch batch) {
  base_body_ran_ = true;
  return batch;
}

Batch LightningDataModule::transfer_batch_to_device(Batch batch, at::Device) {
  base_body_ran_ = true;
  return batch;
}

Batch LightningDataModule::on_after_batch_transfer(Batch batch) {
  base_body_ran_ = true;
  return batch;
}

TrainerContext& LightningDataModule::trainer() const {
  LIGHTNING_CHECK(trainer_ != nullptr, ConfigError,
                  "LightningDataModule: no Trainer runs this data module, trainer() needs one. "
                  "HINT: call it from setup() or a loader function.");
  return *trainer_;
}

}  // namespace lightning
