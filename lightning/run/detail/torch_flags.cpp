#include <lightning/run/detail/torch_flags.h>

#include <ATen/Context.h>
#include <torch/csrc/autograd/anomaly_mode.h>

#include <lightning/util/log.h>

namespace lightning {

using torch::autograd::AnomalyMode;

CudnnBenchmark::CudnnBenchmark(const TrainerOptions& options) {
  const bool deterministic = options.deterministic.on();
  if (deterministic && options.benchmark.value_or(false)) {
    log_warning(
        "Trainer: deterministic and benchmark are both set, and cuDNN may choose other kernels in "
        "each run. HINT: leave benchmark out.");
  }
  if (!options.benchmark && !deterministic) return;
  before_ = at::globalContext().benchmarkCuDNN();
  at::globalContext().setBenchmarkCuDNN(options.benchmark.value_or(false));
}

CudnnBenchmark::~CudnnBenchmark() {
  if (before_) at::globalContext().setBenchmarkCuDNN(*before_);
}

AnomalyDetection::AnomalyDetection(const TrainerOptions& options)
    : was_enabled_(AnomalyMode::is_enabled()), checked_nan_(AnomalyMode::should_check_nan()) {
  if (!options.detect_anomaly) return;
  log_info(
      "Trainer: detect_anomaly is true, which makes each step much slower. HINT: use it for "
      "debugging only.");
  AnomalyMode::set_enabled(true, /*check_nan=*/true);
}

AnomalyDetection::~AnomalyDetection() { AnomalyMode::set_enabled(was_enabled_, checked_nan_); }

}  // namespace lightning
