#include <lightning/loops/nonfinite.h>

#include <exception>
#include <string>
#include <string_view>

#include <c10/util/Exception.h>

#include <lightning/loops/hooks.h>
#include <lightning/util/error.h>
#include <lightning/util/log.h>

namespace lightning {
namespace {

/// Drops LibTorch's C++ backtraces of forward calls, while it handles the warnings of this thread:
/// they name no line of the module, and the DataError names the operation.
class WithoutForwardTraces final : public c10::WarningHandler {
 public:
  void process(const c10::Warning& warning) override {
    if (warning.msg().find("Traceback of forward call") != std::string::npos) return;
    outer_->process(warning);
  }

 private:
  c10::WarningHandler* outer_ = c10::WarningUtils::get_warning_handler();
};

}  // namespace

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

void run_backward(RunState& run, const at::Tensor& loss) {
  if (!run.context.options.user.detect_anomaly) return run.context.module->backward(loss);
  WithoutForwardTraces handler;
  const c10::WarningUtils::WarningHandlerGuard guard(&handler);
  try {
    run.context.module->backward(loss);
  } catch (const std::exception& error) {
    // Autograd's: "Function 'SqrtBackward0' returned nan values in its 0th output."
    const std::string_view text = error.what();
    const std::string_view line = text.substr(0, text.find('\n'));
    if (line.find("returned nan values") == std::string_view::npos) throw;
    throw DataError(format(
        "Trainer: the backward of step {} of epoch {} gave nan: {} HINT: look at the inputs of "
        "that operation in the forward.",
        run.progress.global_step + 1, run.progress.epoch, line));
  }
}

}  // namespace lightning
