#include <lightning/control/detail/stop_agreement.h>

#include <algorithm>

namespace lightning::detail {

StopAgreement::StopAgreement(int64_t world_size)
    : world_size_(static_cast<size_t>(world_size)), published_(world_size_) {}

bool StopAgreement::begin(const StopRequest& request) {
  if (requested_) return false;
  requested_ = true;
  order_.request = request;
  return true;
}

std::optional<StopOrder> StopAgreement::publish(int64_t rank, const Publication& publication) {
  if (!requested_ || publication.generation != generation_) return std::nullopt;
  if (published_[static_cast<size_t>(rank)]) return std::nullopt;
  published_[static_cast<size_t>(rank)] = true;
  if (publication.boundary) {
    const int64_t next = *publication.boundary + 1;
    order_.boundary = std::max(order_.boundary.value_or(next), next);
  }
  return ++count_ == world_size_ ? std::optional(order_) : std::nullopt;
}

void StopAgreement::clear() {
  ++generation_;
  requested_ = false;
  order_ = {};
  published_.assign(world_size_, false);
  count_ = 0;
}

}  // namespace lightning::detail
