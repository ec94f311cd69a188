#include <lightning/loops/batch_transfer.h>

#include <utility>

#include <lightning/loops/hooks.h>
#include <lightning/precision/precision.h>

namespace lightning {

Batch transfer_batch(RunState& run, const Batch& loaded) {
  Batch batch = run.context.precision->convert_batch(loaded);
  batch = call_module(run, module_hooks::on_before_batch_transfer, std::move(batch));
  batch = call_module(run, module_hooks::transfer_batch_to_device, std::move(batch),
                      run.context.options.device);
  batch = call_module(run, module_hooks::on_after_batch_transfer, std::move(batch));
  // A hook may have made a new one.
  batch.set_rank_weight(loaded.rank_weight());
  return batch;
}

}  // namespace lightning
