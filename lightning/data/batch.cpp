#include <lightning/data/batch.h>

#include <ATen/ATen.h>
#include <c10/util/Type.h>

#include <lightning/util/error.h>

namespace lightning {
namespace {

std::string names_of(const std::vector<Batch::Item>& items) {
  std::string names;
  for (const auto& [name, tensor] : items) names += (names.empty() ? "" : ", ") + name;
  return names.empty() ? "nothing" : names;
}

}  // namespace

const at::Tensor& Batch::operator[](std::string_view name) const {
  for (const auto& [key, tensor] : items_) {
    if (key == name) return tensor;
  }
  throw DataError(
      detail::concat("Batch: no tensor \"", name, "\". Available: ", names_of(items_), "."));
}

const at::Tensor& Batch::operator[](int64_t position) const {
  LIGHTNING_CHECK(position >= 0 && position < size(), DataError, "Batch: no tensor at position ",
                  position, ", there are ", size(), " (", names_of(items_), ").");
  return items_[static_cast<size_t>(position)].second;
}

void Batch::set(std::string_view name, at::Tensor tensor) {
  for (auto& [key, value] : items_) {
    if (key == name) {
      value = std::move(tensor);
      return;
    }
  }
  items_.emplace_back(std::string(name), std::move(tensor));
}

bool Batch::contains(std::string_view name) const {
  for (const auto& item : items_) {
    if (item.first == name) return true;
  }
  return false;
}

template <typename F>
Batch Batch::transformed(F&& f) const {
  Batch result;
  result.items_.reserve(items_.size());
  for (const auto& [name, tensor] : items_) {
    result.items_.emplace_back(name, tensor.defined() ? f(tensor) : tensor);
  }
  result.payload_ = payload_;
  result.batch_size_ = batch_size_;
  result.rank_weight_ = rank_weight_;
  result.dataloader_idx_ = dataloader_idx_;
  return result;
}

Batch Batch::to(at::Device device, bool non_blocking) const {
  return transformed([&](const at::Tensor& tensor) {
    return tensor.to(device, tensor.scalar_type(), non_blocking);
  });
}

Batch Batch::to(at::ScalarType dtype) const {
  return transformed([&](const at::Tensor& tensor) {
    return tensor.is_floating_point() ? tensor.to(dtype) : tensor;
  });
}

Batch Batch::pin_memory() const {
  return transformed(
      [](const at::Tensor& tensor) { return tensor.is_cpu() ? tensor.pin_memory() : tensor; });
}

void Batch::throw_wrong_payload(const std::type_info& asked) const {
  const std::string wanted = c10::demangle(asked.name());
  LIGHTNING_CHECK(has_payload(), DataError, "Batch: there is no payload, one of type ", wanted,
                  " was requested.");
  throw DataError(detail::concat("Batch: the payload is of type ",
                                 c10::demangle(payload_.type().name()), ", one of type ", wanted,
                                 " was requested."));
}

}  // namespace lightning
