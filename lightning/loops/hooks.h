/// How the loops call hooks: those of the callbacks in order, then the module's. Each is an action
/// of the profiler, when there is one.
#pragma once

#include <cstdint>
#include <exception>
#include <utility>

#include <lightning/loops/run_state.h>

namespace lightning {

/// A hook that callbacks and the module have.
template <typename... Params>
struct Hook {
  const char* name;
  void (Callback::*of_callback)(TrainerContext&, LightningModule&, Params...);
  void (LightningModule::*of_module)(Params...) = nullptr;  // null: for callbacks only
};
/// A hook of one class alone: LightningModule, LightningDataModule or Callback.
template <typename Owner, typename Result, typename... Params>
struct OwnHook {
  const char* name;
  Result (Owner::*function)(Params...);
};

#define LIGHTNING_HOOK(name) \
  inline constexpr Hook name = {#name, &Callback::name, &LightningModule::name};
namespace hooks {
LIGHTNING_HOOK(setup)
LIGHTNING_HOOK(teardown)
LIGHTNING_HOOK(on_fit_start)
LIGHTNING_HOOK(on_fit_end)
LIGHTNING_HOOK(on_train_start)
LIGHTNING_HOOK(on_train_end)
LIGHTNING_HOOK(on_train_epoch_start)
LIGHTNING_HOOK(on_train_epoch_end)
LIGHTNING_HOOK(on_train_batch_start)
LIGHTNING_HOOK(on_train_batch_end)
LIGHTNING_HOOK(on_validation_start)
LIGHTNING_HOOK(on_validation_end)
LIGHTNING_HOOK(on_validation_epoch_start)
LIGHTNING_HOOK(on_validation_epoch_end)
LIGHTNING_HOOK(on_validation_batch_start)
LIGHTNING_HOOK(on_validation_batch_end)
LIGHTNING_HOOK(on_test_start)
LIGHTNING_HOOK(on_test_end)
LIGHTNING_HOOK(on_test_epoch_start)
LIGHTNING_HOOK(on_test_epoch_end)
LIGHTNING_HOOK(on_test_batch_start)
LIGHTNING_HOOK(on_test_batch_end)
LIGHTNING_HOOK(on_predict_start)
LIGHTNING_HOOK(on_predict_end)
LIGHTNING_HOOK(on_predict_epoch_start)
LIGHTNING_HOOK(on_predict_epoch_end)
LIGHTNING_HOOK(on_predict_batch_start)
LIGHTNING_HOOK(on_predict_batch_end)
LIGHTNING_HOOK(on_before_backward)
LIGHTNING_HOOK(on_after_backward)
LIGHTNING_HOOK(on_before_zero_grad)
LIGHTNING_HOOK(on_before_optimizer_step)
LIGHTNING_HOOK(on_after_optimizer_step)
inline constexpr Hook on_sanity_check_start = {"on_sanity_check_start",
                                               &Callback::on_sanity_check_start};
inline constexpr Hook on_sanity_check_end = {"on_sanity_check_end", &Callback::on_sanity_check_end};
inline constexpr Hook on_exception = {"on_exception", &Callback::on_exception};
inline constexpr Hook on_save_checkpoint = {"on_save_checkpoint", &Callback::on_save_checkpoint};
inline constexpr Hook on_save_weights = {"on_save_weights", &Callback::on_save_weights};
inline constexpr Hook on_load_checkpoint = {"on_load_checkpoint", &Callback::on_load_checkpoint};
}  // namespace hooks
#undef LIGHTNING_HOOK

#define LIGHTNING_HOOK(name) inline constexpr OwnHook name = {#name, &LightningModule::name};
namespace module_hooks {
LIGHTNING_HOOK(prepare_data)
LIGHTNING_HOOK(configure_model)
LIGHTNING_HOOK(configure_optimizers)
LIGHTNING_HOOK(train_dataloader)
LIGHTNING_HOOK(val_dataloader)
LIGHTNING_HOOK(test_dataloader)
LIGHTNING_HOOK(predict_dataloader)
LIGHTNING_HOOK(on_before_batch_transfer)
LIGHTNING_HOOK(transfer_batch_to_device)
LIGHTNING_HOOK(on_after_batch_transfer)
LIGHTNING_HOOK(on_validation_model_zero_grad)
LIGHTNING_HOOK(on_validation_model_eval)
LIGHTNING_HOOK(on_validation_model_train)
LIGHTNING_HOOK(on_test_model_eval)
LIGHTNING_HOOK(on_test_model_train)
LIGHTNING_HOOK(on_predict_model_eval)
LIGHTNING_HOOK(optimizer_zero_grad)
LIGHTNING_HOOK(optimizer_step)
LIGHTNING_HOOK(configure_gradient_clipping)
LIGHTNING_HOOK(lr_scheduler_step)
LIGHTNING_HOOK(on_save_checkpoint)
LIGHTNING_HOOK(on_load_checkpoint)
}  // namespace module_hooks
#undef LIGHTNING_HOOK

#define LIGHTNING_HOOK(name) inline constexpr OwnHook name = {#name, &LightningDataModule::name};
namespace data_hooks {
LIGHTNING_HOOK(prepare_data)
LIGHTNING_HOOK(setup)
LIGHTNING_HOOK(teardown)
LIGHTNING_HOOK(train_dataloader)
LIGHTNING_HOOK(val_dataloader)
LIGHTNING_HOOK(test_dataloader)
LIGHTNING_HOOK(predict_dataloader)
LIGHTNING_HOOK(on_before_batch_transfer)
LIGHTNING_HOOK(transfer_batch_to_device)
LIGHTNING_HOOK(on_after_batch_transfer)
LIGHTNING_HOOK(on_exception)
}  // namespace data_hooks
#undef LIGHTNING_HOOK

template <typename... Params, typename... Args>
void call_callback(RunState& run, Callback& callback, const Hook<Params...>& hook, Args&&... args) {
  const Profiled timed = run.phases.hook("Callback", callback, hook.name);
  (callback.*hook.of_callback)(run.context.trainer, *run.context.module, args...);
}

template <typename... Params, typename... Args>
void call_callbacks(RunState& run, const Hook<Params...>& hook, Args&&... args) {
  for (const auto& callback : run.context.callbacks) call_callback(run, *callback, hook, args...);
}

template <typename... Params, typename... Args>
void call_module(RunState& run, const Hook<Params...>& hook, Args&&... args) {
  const Profiled timed = run.phases.hook("LightningModule", *run.context.module, hook.name);
  ((*run.context.module).*hook.of_module)(args...);
}
template <typename Result, typename... Params, typename... Args>
Result call_module(RunState& run, const OwnHook<LightningModule, Result, Params...>& hook,
                   Args&&... args) {
  const Profiled timed = run.phases.hook("LightningModule", *run.context.module, hook.name);
  return ((*run.context.module).*hook.function)(std::forward<Args>(args)...);
}

/// Callbacks in order, then the module.
template <typename... Params, typename... Args>
void call_hooks(RunState& run, const Hook<Params...>& hook, Args&&... args) {
  call_callbacks(run, hook, args...);
  call_module(run, hook, args...);
}

/// The loader's next batch. `action` must be a literal.
inline std::optional<Batch> next_batch(RunState& run, BatchSource& loader, const char* action) {
  const Profiled timed = run.phases.hook("DataLoader", loader, action);
  return loader.next();
}

/// Nothing without a data module.
template <typename Result, typename... Params, typename... Args>
Result call_data_module(RunState& run, const OwnHook<LightningDataModule, Result, Params...>& hook,
                        Args&&... args) {
  if (run.context.data_module == nullptr) return Result();
  const Profiled timed =
      run.phases.hook("LightningDataModule", *run.context.data_module, hook.name);
  return ((*run.context.data_module).*hook.function)(std::forward<Args>(args)...);
}

}  // namespace lightning
