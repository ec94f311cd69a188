#include <lightning/run/detail/dry_run.h>

namespace lightning {
namespace {

/// Kinds of which nothing is left are taken out.
void subtract(Traffic& traffic, const Traffic& less) {
  add(traffic, less, -1);
  std::erase_if(traffic, [](const auto& entry) { return entry.second.messages == 0; });
}

}  // namespace

void add(Traffic& sum, const Traffic& traffic, int64_t times) {
  for (const auto& [kind, counters] : traffic) {
    CollectiveCounters& total = sum[kind];
    total.messages += counters.messages * times;
    total.bytes += counters.bytes * times;
  }
}

DryRun::DryRun(World* world, const MetricSync* metrics)
    : world_(world), metrics_(metrics), begin_(now()), entered_(begin_) {}

DryRun::Snapshot DryRun::now() const {
  Snapshot snapshot;
  if (world_ == nullptr) return snapshot;
  snapshot.traffic = world_->group().counters_by_name();
  const ExchangeCounters exchanges = world_->control().exchange_counters();
  snapshot.traffic[kControlPlane] = {exchanges.exchanges, exchanges.bytes};
  snapshot.agreements = metrics_->agreements();
  return snapshot;
}

Traffic DryRun::since_entered() const {
  const Snapshot snapshot = now();
  Traffic traffic = snapshot.traffic;
  subtract(traffic, entered_.traffic);
  const NameAgreements& after = snapshot.agreements;
  const NameAgreements& before = entered_.agreements;
  const int64_t count = after.count - before.count;
  subtract(traffic, {{"all_gather", {count, after.collective_bytes - before.collective_bytes}},
                     {kControlPlane, {count, after.exchange_bytes - before.exchange_bytes}}});
  return traffic;
}

void DryRun::enter(std::string_view part, int64_t global_step) {
  add(parts_[present_].traffic, since_entered());
  entered_ = now();
  present_ = part;
  if (part == kStep && step_ == global_step) return;
  if (part == kStep) step_ = global_step;
  Part& entered = parts_[present_];
  ++entered.times;
  entered.traffic.clear();
}

int64_t DryRun::count(std::string_view part) const {
  const auto found = parts_.find(part);
  return found == parts_.end() ? 0 : found->second.times;
}

Traffic DryRun::last(std::string_view part) const {
  const auto found = parts_.find(part);
  if (found == parts_.end() || (part == kStep && found->second.times < 2)) return {};
  Traffic traffic = found->second.traffic;
  if (part == present_) add(traffic, since_entered());
  return traffic;
}

Traffic DryRun::total() const {
  Traffic traffic = now().traffic;
  subtract(traffic, begin_.traffic);
  return traffic;
}

}  // namespace lightning
