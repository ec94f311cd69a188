#include <lightning/loops/batch_transfer.h>

#include <utility>

namespace lightning {

Batch transfer_batch(LightningModule& module, const Precision& precision, at::Device device,
                     const Batch& loaded) {
  Batch batch = precision.convert_batch(loaded);
  batch = module.on_before_batch_transfer(std::move(batch));
  batch = module.transfer_batch_to_device(std::move(batch), device);
  batch = module.on_after_batch_transfer(std::move(batch));
  // A hook may have made a new one.
  batch.set_rank_weight(loaded.rank_weight());
  return batch;
}

}  // namespace lightning
