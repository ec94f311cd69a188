#include <lightning/loops/prediction_loop.h>

#include <ATen/core/grad_mode.h>
#include <c10/core/InferenceMode.h>

#include <lightning/loops/batch_transfer.h>
#include <lightning/loops/evaluation_loop.h>

namespace lightning {

void PredictionLoop::run(const PredictionSink& sink) {
  LightningModule& module = *run_.module;
  const bool was_training = module.is_training();
  run_.eval_metrics.enter({.hook = "a predict hook"});
  module.attach(&run_.context, &run_.eval_metrics);
  run_.set_status("predict_step");
  run_.strategy->synchronize_buffers();
  module.on_predict_model_eval();
  call_callbacks(run_, &Callback::on_predict_start);
  module.on_predict_start();
  call_callbacks(run_, &Callback::on_predict_epoch_start);
  module.on_predict_epoch_start();
  run_batches(sink);
  call_callbacks(run_, &Callback::on_predict_epoch_end);
  module.on_predict_epoch_end();
  call_callbacks(run_, &Callback::on_predict_end);
  module.on_predict_end();
  module.train(was_training);
}

void PredictionLoop::run_batches(const PredictionSink& sink) {
  LightningModule& module = *run_.module;
  const c10::InferenceMode inference;
  const auto precision = run_.precision->forward_context();
  for (int64_t loader_idx = 0; loader_idx < run_.eval_loaders.size(); ++loader_idx) {
    DataLoader& loader = run_.eval_loaders[loader_idx];
    loader.set_shard(run_.shard(UnevenInputs::kExact));
    run_.num_eval_batches =
        limited_batches(run_.options.user.limit_predict_batches, loader, "limit_predict_batches");
    loader.begin_epoch(0);
    for (int64_t i = 0; !run_.num_eval_batches || i < *run_.num_eval_batches; ++i) {
      std::optional<Batch> loaded = loader.next();
      if (!loaded) break;
      run_.eval_batch_idx = i;
      Batch batch = transfer_batch(module, *run_.precision, run_.options.device, *loaded);
      batch.set_dataloader_idx(loader_idx);
      call_callbacks(run_, &Callback::on_predict_batch_start, batch, i);
      module.on_predict_batch_start(batch, i);
      const Batch outputs = module.predict_step(batch, i);
      call_callbacks(run_, &Callback::on_predict_batch_end, outputs, batch, i);
      module.on_predict_batch_end(outputs, batch, i);
      if (sink) sink(outputs, batch, i);
    }
  }
}

}  // namespace lightning
