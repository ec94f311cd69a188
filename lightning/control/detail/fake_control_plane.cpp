#include <lightning/control/detail/fake_control_plane.h>

#include <utility>

namespace lightning::detail {

FakeControlPlane::FakeControlPlane(int64_t world_size)
    : hosts_(static_cast<size_t>(world_size), "localhost") {}

void FakeControlPlane::count(std::string_view payload) {
  ++counters_.exchanges;
  counters_.bytes += static_cast<int64_t>(payload.size());
}

std::vector<std::string> FakeControlPlane::all_gather(std::string_view /*name*/,
                                                      std::string_view payload) {
  count(payload);
  return std::vector<std::string>(hosts_.size(), std::string(payload));
}

std::string FakeControlPlane::broadcast(std::string_view /*name*/, std::string_view payload) {
  count(payload);
  return std::string(payload);
}

void FakeControlPlane::barrier(std::string_view /*name*/) { count(""); }

void FakeControlPlane::request_stop(StopRequest request) {
  if (!request_) request_ = std::move(request);
}

bool FakeControlPlane::stop_at(int64_t /*boundary*/) {
  stopped_ = request_.has_value();
  return stopped_;
}

std::optional<StopRequest> FakeControlPlane::stop() const {
  return stopped_ ? request_ : std::nullopt;
}

void FakeControlPlane::clear_stop() {
  count("");
  request_.reset();
  stopped_ = false;
}

}  // namespace lightning::detail
