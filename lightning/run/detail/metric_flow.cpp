#include <lightning/run/detail/metric_flow.h>

#include <algorithm>

namespace lightning {

MetricLog::Scope step_scope(const Batch& batch, int64_t step) {
  MetricLog::Scope scope;
  scope.step = step;
  scope.allowed = true;
  scope.on_step = true;
  // A batch whose collate set no size weighs as one, a padding batch as nothing.
  scope.batch_size =
      batch.is_padding() ? 0.0 : static_cast<double>(std::max<int64_t>(batch.batch_size(), 1));
  return scope;
}

MetricLog::Scope epoch_scope() {
  MetricLog::Scope scope;
  scope.allowed = true;
  scope.on_epoch = true;
  scope.in_step = false;
  return scope;
}

}  // namespace lightning
