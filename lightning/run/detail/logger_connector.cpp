#include <lightning/run/detail/logger_connector.h>

#include <utility>

#include <ATen/Functions.h>

namespace lightning {

LoggerConnector::Pending LoggerConnector::begin(LoggedRow row) {
  Pending pending;
  std::vector<at::Tensor> on_device;
  for (LoggedValue& value : row) {
    if (value.device.defined()) {
      pending.on_device.push_back(pending.row.values.size());
      on_device.push_back(std::move(value.device));
    }
    pending.row.values.emplace_back(std::move(value.name), value.host);
  }
  if (!on_device.empty()) pending.copy = std::make_unique<HostCopy>(at::stack(on_device));
  return pending;
}

void LoggerConnector::finish(Pending& pending) {
  if (pending.copy == nullptr) return;
  const std::vector<double> values = pending.copy->values();
  for (size_t i = 0; i < values.size(); ++i) {
    pending.row.values[pending.on_device[i]].second = values[i];
  }
}

void LoggerConnector::deliver(const MetricRow& row) {
  if (gate_) gate_();
  for (const auto& logger : loggers_) logger->log_metrics(row);
}

void LoggerConnector::send(LoggedRow row, int64_t step, int64_t epoch) {
  if (row.empty() || loggers_.empty()) return;
  Pending pending = begin(std::move(row));
  pending.row.step = step;
  pending.row.epoch = epoch;
  pending_.push_back(std::move(pending));
  ++rows_;
  poll();
}

void LoggerConnector::poll() {
  // In order: a row that is ready waits for those before it.
  while (!pending_.empty() &&
         (pending_.front().copy == nullptr || pending_.front().copy->ready())) {
    finish(pending_.front());
    deliver(pending_.front().row);
    pending_.pop_front();
  }
}

void LoggerConnector::flush() {
  for (Pending& pending : pending_) {
    finish(pending);
    deliver(pending.row);
  }
  pending_.clear();
}

StateDict LoggerConnector::positions() {
  flush();
  StateDict positions;
  for (size_t i = 0; i < loggers_.size(); ++i) {
    positions.set(std::to_string(i), loggers_[i]->state_dict());
  }
  return positions;
}

const MetricMap& LoggerConnector::progress_bar(const MetricLog& metrics) {
  const bool waiting = bar_pending_.copy != nullptr;
  if (!waiting || bar_pending_.copy->ready()) {
    if (!waiting) bar_pending_ = begin(metrics.progress_bar_row());
    if (bar_pending_.copy == nullptr || bar_pending_.copy->ready()) {
      finish(bar_pending_);
      for (const auto& [name, value] : bar_pending_.row.values) bar_[name] = value;
      bar_pending_ = {};
    }
  }
  return bar_;
}

}  // namespace lightning
