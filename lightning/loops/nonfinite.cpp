#include <lightning/loops/nonfinite.h>

#include <lightning/util/error.h>
#include <lightning/util/log.h>

namespace lightning {

void check_nonfinite(RunState& run) {
  if (run.context.options.user.on_nonfinite == OnNonfinite::kIgnore) return;
  const auto finding = run.nonfinite.read();
  if (!finding) return;
  const std::string text = format(
      "Trainer: {} was not finite at step {} of epoch {}. HINT: lower the learning rate, set "
      "trainer.gradient_clip_val, or use trainer.on_nonfinite: warn to continue.",
      finding->in_gradients ? "a gradient" : "the loss", finding->step, run.progress.epoch);
  if (run.context.options.user.on_nonfinite == OnNonfinite::kError) throw DataError(text);
  log_warning(text);
}

}  // namespace lightning
