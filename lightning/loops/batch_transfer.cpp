#include <lightning/loops/batch_transfer.h>

#include <utility>

#include <lightning/loops/hooks.h>
#include <lightning/precision/precision.h>

namespace lightning {

namespace {

/// The data module's hook when it overrides it, else the module's: Lightning's rule.
template <typename... Args>
Batch call_one(RunState& run, const OwnHook<LightningDataModule, Batch, Batch, Args...>& of_data,
               const OwnHook<LightningModule, Batch, Batch, Args...>& of_module, Batch batch,
               Args... args) {
  if (LightningDataModule* data = run.context.data_module.get(); data != nullptr) {
    data->reset_base_body();
    batch = call_data_module(run, of_data, std::move(batch), args...);
    if (!data->base_body_ran()) return batch;
  }
  return call_module(run, of_module, std::move(batch), args...);
}

}  // namespace

Batch transfer_batch(RunState& run, const Batch& loaded) {
  Batch batch = run.context.precision->convert_batch(loaded);
  batch = call_one(run, data_hooks::on_before_batch_transfer,
                   module_hooks::on_before_batch_transfer, std::move(batch));
  batch =
      call_one(run, data_hooks::transfer_batch_to_device, module_hooks::transfer_batch_to_device,
               std::move(batch), run.context.options.device);
  batch = call_one(run, data_hooks::on_after_batch_transfer, module_hooks::on_after_batch_transfer,
                   std::move(batch));
  // A hook may have made a new one.
  batch.set_rank_weight(loaded.rank_weight());
  return batch;
}

}  // namespace lightning
