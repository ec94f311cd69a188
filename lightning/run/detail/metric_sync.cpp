#include <lightning/run/detail/metric_sync.h>

#include <algorithm>
#include <map>

#include <ATen/Functions.h>

#include <lightning/control/detail/state_exchange.h>
#include <lightning/util/detail/crc32c.h>
#include <lightning/util/error.h>

namespace lightning {
namespace {

using Part = MetricLog::Part;
using Parts = std::vector<Part>;

// What a rank puts before its values.
constexpr int64_t kHash = 0;
constexpr int64_t kChanged = 1;
constexpr int64_t kHeader = 2;

std::string names_of(const Parts& parts) {
  std::string names;
  for (const Part& part : parts) {
    names += part.name;
    names += static_cast<char>(part.reduce_fx);
  }
  return names;
}

uint32_t hash_of(const Parts& parts) {
  const std::string names = names_of(parts);
  return crc32c(names.data(), names.size());
}

StateDict description_of(const Parts& parts) {
  StateDict state;
  for (size_t i = 0; i < parts.size(); ++i) {
    const Part& part = parts[i];
    StateDict one;
    one.set("name", part.name);
    one.set("reduce_fx", static_cast<int64_t>(part.reduce_fx));
    one.set("on_step", part.on_step);
    one.set("on_epoch", part.on_epoch);
    one.set("prog_bar", part.prog_bar);
    one.set("logger", part.logger);
    state.set(std::to_string(i), one);
  }
  state.set("count", parts.size());
  return state;
}

/// Parts of weight 0 with the names of another rank.
Parts parts_from(const StateDict& state) {
  Parts parts(static_cast<size_t>(state.get<int64_t>("count")));
  for (size_t i = 0; i < parts.size(); ++i) {
    const StateDict one = state.nested(std::to_string(i));
    parts[i].name = one.get<std::string>("name");
    parts[i].reduce_fx = static_cast<ReduceFx>(one.get<int64_t>("reduce_fx"));
    parts[i].on_step = one.get<bool>("on_step");
    parts[i].on_epoch = one.get<bool>("on_epoch");
    parts[i].prog_bar = one.get<bool>("prog_bar");
    parts[i].logger = one.get<bool>("logger");
  }
  return parts;
}

std::string differences(const std::vector<Parts>& by_rank) {
  std::vector<std::vector<std::string>> names(by_rank.size());
  for (size_t rank = 0; rank < by_rank.size(); ++rank) {
    for (const Part& part : by_rank[rank]) names[rank].push_back(part.name);
  }
  const std::string text = name_differences(names);
  return text.empty() ? "the same names in a different order or with a different reduce_fx" : text;
}

}  // namespace

std::string name_differences(const std::vector<std::vector<std::string>>& by_rank) {
  std::map<std::string, std::vector<size_t>> ranks_of;
  for (size_t rank = 0; rank < by_rank.size(); ++rank) {
    for (const std::string& name : by_rank[rank]) ranks_of[name].push_back(rank);
  }
  std::string text;
  for (const auto& [name, ranks] : ranks_of) {
    if (ranks.size() == by_rank.size()) continue;
    text += detail::concat(text.empty() ? "" : ", ", "\"", name, "\" on rank");
    for (size_t i = 0; i < ranks.size(); ++i) text += detail::concat(i == 0 ? " " : "+", ranks[i]);
    text += " only";
  }
  return text;
}

int64_t MetricSync::interval_bytes() const {
  return (kHeader + 2 * capacity_) * static_cast<int64_t>(sizeof(double));
}

std::vector<double> MetricSync::gather(const Parts& parts, bool changed) {
  const auto options = at::TensorOptions().dtype(at::kDouble);
  const int64_t width = interval_bytes() / static_cast<int64_t>(sizeof(double));
  at::Tensor row = at::zeros({width}, options);
  double* values = row.mutable_data_ptr<double>();
  values[kHash] = hash_of(parts);
  values[kChanged] = changed ? 1.0 : 0.0;
  std::vector<at::Tensor> on_device;
  std::vector<int64_t> places;
  for (size_t i = 0; i < parts.size() && static_cast<int64_t>(i) < capacity_; ++i) {
    const int64_t place = kHeader + 2 * static_cast<int64_t>(i);
    values[place] = parts[i].value.host;
    values[place + 1] = parts[i].weight;
    if (!parts[i].value.device.defined()) continue;
    on_device.push_back(parts[i].value.device);
    places.push_back(place);
  }
  row = row.to(device_);
  if (!on_device.empty()) {
    row.index_copy_(0, at::tensor(places, at::kLong).to(device_), at::stack(on_device));
  }
  const at::Tensor all = group_->all_gather(row).cpu().contiguous();
  const double* begin = all.const_data_ptr<double>();
  return {begin, begin + all.numel()};
}

void MetricSync::agree_on_names(Parts& parts, std::string_view interval) {
  const int64_t exchanged = control_->exchange_counters().bytes;
  std::vector<Parts> by_rank;
  for (const StateDict& state :
       all_gather_object(*control_, "logged names", description_of(parts))) {
    by_rank.push_back(parts_from(state));
  }
  ++agreements_.count;
  agreements_.collective_bytes += interval_bytes();
  agreements_.exchange_bytes += control_->exchange_counters().bytes - exchanged;
  const auto named = std::find_if(by_rank.begin(), by_rank.end(),
                                  [](const Parts& theirs) { return !theirs.empty(); });
  if (named == by_rank.end()) return;
  const std::string names = names_of(*named);
  const bool same = std::all_of(by_rank.begin(), by_rank.end(), [&](const Parts& theirs) {
    return theirs.empty() || names_of(theirs) == names;
  });
  // A rank without a batch in an evaluation has nothing to log; in training every rank has batches.
  const bool training = interval == kStepInterval || interval == kEpochInterval;
  const bool complete =
      !training || std::none_of(by_rank.begin(), by_rank.end(),
                                [](const Parts& theirs) { return theirs.empty(); });
  LIGHTNING_CHECK(same && complete, ConfigError, "log: ranks logged different values in ", interval,
                  ": ", differences(by_rank),
                  "; expected the same on every rank. HINT: log on all ranks, or leave the value "
                  "out of the reduction with sync_dist = false.");
  if (parts.empty()) parts = *named;
  capacity_ = std::max(capacity_, static_cast<int64_t>(parts.size()));
  const uint32_t hash = hash_of(parts);
  if (std::find(known_hashes_.begin(), known_hashes_.end(), hash) == known_hashes_.end()) {
    known_hashes_.push_back(hash);
  }
}

void MetricSync::reduce(MetricLog& log, MetricLog::Level level, std::string_view interval) {
  Parts parts = log.parts(level);
  const uint32_t hash = hash_of(parts);
  const bool known = parts.empty() || std::find(known_hashes_.begin(), known_hashes_.end(), hash) !=
                                          known_hashes_.end();
  std::vector<double> all = gather(parts, !known);
  const auto ranks = static_cast<size_t>(group_->world_size());
  size_t width = all.size() / ranks;
  bool changed = false;
  for (size_t rank = 0; rank < ranks; ++rank) {
    changed |= all[rank * width + kChanged] != 0.0 || all[rank * width + kHash] != all[kHash];
  }
  if (changed) {
    agree_on_names(parts, interval);
    all = gather(parts, false);
    width = all.size() / ranks;
  }
  for (size_t i = 0; i < parts.size(); ++i) {
    Part& total = parts[i];
    total.weight = 0.0;
    Part of_rank = total;
    for (size_t rank = 0; rank < ranks; ++rank) {
      const double* value = all.data() + rank * width + kHeader + 2 * i;
      of_rank.value = {.host = value[0], .device = {}};
      of_rank.weight = value[1];
      total.add(of_rank);
    }
  }
  log.set_parts(level, parts);
}

}  // namespace lightning
