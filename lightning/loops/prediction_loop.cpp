#include <lightning/loops/prediction_loop.h>

#include <ATen/core/grad_mode.h>
#include <c10/core/InferenceMode.h>

#include <lightning/loops/batch_transfer.h>
#include <lightning/loops/hooks.h>
#include <lightning/precision/precision.h>

namespace lightning {

void PredictionLoop::run(const PredictionSink& sink) {
  LightningModule& module = *run_.context.module;
  const bool was_training = module.is_training();
  module.attach(&run_.context.trainer, &run_.metrics.evaluation);
  {
    const auto phase = run_.phases.enter(kPredictStart, run_.progress, run_.metrics.evaluation,
                                         {.hook = "a predict hook"});
    run_.context.strategy->synchronize_buffers();
    call_module(run_, module_hooks::on_predict_model_eval);
    call_hooks(run_, hooks::on_predict_start);
    call_hooks(run_, hooks::on_predict_epoch_start);
  }
  run_batches(sink);
  call_hooks(run_, hooks::on_predict_epoch_end);
  call_hooks(run_, hooks::on_predict_end);
  module.train(was_training);
}

void PredictionLoop::run_batches(const PredictionSink& sink) {
  EvaluationPlace& place = evaluation_.place();
  int64_t batches_run = 0;
  const c10::InferenceMode inference(run_.context.options.user.inference_mode);
  const at::NoGradGuard no_grad;
  const auto precision = run_.context.precision->forward_context();
  for (int64_t loader_idx = 0; loader_idx < run_.loaders.evaluation.size(); ++loader_idx) {
    BatchSource& loader = run_.loaders.evaluation[loader_idx];
    loader.set_shard(run_.context.shard(UnevenInputs::kExact));
    place.num_batches = limited_batches(run_.context.options.user.limit_predict_batches, loader,
                                        "limit_predict_batches");
    loader.begin_epoch(0);
    for (int64_t i = 0; !place.num_batches || i < *place.num_batches; ++i) {
      const std::optional<Batch> loaded = next_batch(run_, loader, "predict_next");
      if (!loaded) break;
      place.batch_idx = i;
      ++batches_run;
      Batch batch = transfer_batch(run_, *loaded);
      batch.set_dataloader_idx(loader_idx);
      predict_batch(batch, i, sink);
    }
  }
  if (batches_run == 0) {
    warn_of_empty_pass(run_, "the prediction", run_.loaders.evaluation,
                       run_.context.options.user.limit_predict_batches, "limit_predict_batches");
  }
}

void PredictionLoop::predict_batch(const Batch& batch, int64_t batch_idx,
                                   const PredictionSink& sink) {
  call_hooks(run_, hooks::on_predict_batch_start, batch, batch_idx);
  const Batch outputs = [&] {
    const auto phase = run_.phases.enter(kPredictStep, run_.progress);
    return run_.context.module->predict_step(batch, batch_idx);
  }();
  call_hooks(run_, hooks::on_predict_batch_end, outputs, batch, batch_idx);
  if (sink) sink(outputs, batch, batch_idx);
}

}  // namespace lightning
