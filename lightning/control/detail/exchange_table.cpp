#include <lightning/control/detail/exchange_table.h>

#include <utility>

#include <lightning/control/detail/failure_text.h>
#include <lightning/util/error.h>

namespace lightning::detail {
namespace {

std::string title_of(ExchangeKind kind, const std::string& name) {
  switch (kind) {
    case ExchangeKind::kGather:
      return concat("all_gather \"", name, "\"");
    case ExchangeKind::kBroadcast:
      return concat("broadcast \"", name, "\"");
    case ExchangeKind::kBarrier:
      return concat("barrier \"", name, "\"");
    case ExchangeKind::kClearStop:
      return "clear_stop";
    case ExchangeKind::kLeave:
      return "leave";
  }
  return "an unknown exchange";
}

}  // namespace

ExchangeTable::ExchangeTable(int64_t world_size) : payloads_(static_cast<size_t>(world_size)) {}

std::string ExchangeTable::title() const { return title_of(kind_, name_); }

std::string ExchangeTable::add(int64_t rank, ExchangePart part) {
  std::optional<std::string>& payload = payloads_[static_cast<size_t>(rank)];
  if (payload) return concat("rank ", rank, " sent its part of ", title(), " twice");
  if (!open()) {
    kind_ = part.kind;
    sequence_ = part.sequence;
    name_ = std::move(part.name);
  } else if (part.kind != kind_ || part.name != name_ || part.sequence != sequence_) {
    const std::vector<int64_t> others = present();
    return concat("the ranks are at different exchanges: ", ranks_text(others), " at ", title(),
                  " (number ", sequence_, "), rank ", rank, " at ", title_of(part.kind, part.name),
                  " (number ", part.sequence, ")");
  }
  payload = std::move(part.payload);
  ++count_;
  return "";
}

std::string ExchangeTable::take_result() {
  std::vector<std::string> results;
  for (std::optional<std::string>& payload : payloads_) {
    if (kind_ == ExchangeKind::kGather || (kind_ == ExchangeKind::kBroadcast && results.empty())) {
      results.push_back(std::move(*payload));
    }
    payload.reset();
  }
  count_ = 0;
  return encode_texts(results);
}

std::vector<int64_t> ExchangeTable::ranks(bool present) const {
  std::vector<int64_t> found;
  for (size_t rank = 0; rank < payloads_.size(); ++rank) {
    if (payloads_[rank].has_value() == present) found.push_back(static_cast<int64_t>(rank));
  }
  return found;
}

}  // namespace lightning::detail
