/// Unit: a layer at whose borders the library can act: the grain at which activations are computed
/// again. LibTorch's C++ modules have no forward hooks; this takes their place.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

#include <torch/nn/cloneable.h>
#include <torch/nn/pimpl.h>

#include <lightning/nn/unit_slot.h>
#include <lightning/util/error.h>
#include <lightning/util/unit_tensors.h>

namespace lightning {
namespace detail {

template <typename T>
concept ListsUnitTensors = requires(const T* tag) {
  lightning_unit_members(tag);
};

// Declared first: they call one another.
template <typename T, typename Visit>
void visit_tensors(std::vector<T>& values, const Visit& visit);
template <typename T, size_t size, typename Visit>
void visit_tensors(std::array<T, size>& values, const Visit& visit);
template <typename T, typename Visit>
void visit_tensors(std::optional<T>& value, const Visit& visit);
template <typename A, typename B, typename Visit>
void visit_tensors(std::pair<A, B>& values, const Visit& visit);
template <typename... T, typename Visit>
void visit_tensors(std::tuple<T...>& values, const Visit& visit);

/// Calls `visit` on each tensor of a value, in a fixed order: those in tuples, pairs, vectors,
/// arrays, optionals and structs with LIGHTNING_UNIT_TENSORS. Other values have none.
template <typename Visit>
void visit_tensors(at::Tensor& tensor, const Visit& visit) {
  visit(tensor);
}
template <typename T, typename Visit>
void visit_tensors(T& value, const Visit& visit);
template <typename T, typename Visit>
void visit_tensors(std::vector<T>& values, const Visit& visit) {
  // A vector<bool> has no elements to refer to, and no tensors.
  if constexpr (!std::is_same_v<T, bool>) {
    for (T& value : values) visit_tensors(value, visit);
  }
}
template <typename T, size_t size, typename Visit>
void visit_tensors(std::array<T, size>& values, const Visit& visit) {
  for (T& value : values) visit_tensors(value, visit);
}
template <typename T, typename Visit>
void visit_tensors(std::optional<T>& value, const Visit& visit) {
  if (value) visit_tensors(*value, visit);
}
template <typename A, typename B, typename Visit>
void visit_tensors(std::pair<A, B>& values, const Visit& visit) {
  visit_tensors(values.first, visit);
  visit_tensors(values.second, visit);
}
template <typename... T, typename Visit>
void visit_tensors(std::tuple<T...>& values, const Visit& visit) {
  std::apply([&](auto&... value) { (visit_tensors(value, visit), ...); }, values);
}
template <typename T, typename Visit>
void visit_tensors(T& value, const Visit& visit) {
  if constexpr (ListsUnitTensors<T>) {
    std::apply([&](auto... member) { (visit_tensors(value.*member, visit), ...); },
               lightning_unit_members(static_cast<const T*>(nullptr)));
  }
}

/// Moves the tensors out of a value, which then holds undefined ones.
template <typename T>
std::vector<at::Tensor> take_tensors(T& value) {
  std::vector<at::Tensor> tensors;
  visit_tensors(value, [&](at::Tensor& tensor) {
    tensors.push_back(std::move(tensor));
    tensor = at::Tensor();
  });
  return tensors;
}

template <typename T>
void put_tensors(T& value, const std::vector<at::Tensor>& tensors) {
  size_t index = 0;
  visit_tensors(value, [&](at::Tensor& tensor) { tensor = tensors[index++]; });
}

}  // namespace detail

/// The module that stands for a unit's layer in its owner: a copy of it that shares its tensors and
/// submodules.
template <typename Impl>
class UnitImpl final : public Impl, public UnitSlot {
 public:
  explicit UnitImpl(const Impl& layer) : Impl(layer) {}

  /// Would go past what happens at the unit's borders: call the unit.
  template <typename... Args>
  void forward(Args&&...) = delete;

  /// A unit as well, without hooks.
  std::shared_ptr<torch::nn::Module> clone(
      const std::optional<at::Device>& device = std::nullopt) const override {
    const auto copy = std::dynamic_pointer_cast<Impl>(Impl::clone(device));
    const auto unit = std::make_shared<UnitImpl>(*copy);
    unit->set_recomputes(recomputes());
    return unit;
  }
};

/// Handle to a unit; copies share it. Called like a module holder: unit(x, mask). Arguments and
/// results may be tensors (also undefined) and what holds tensors: tuples, pairs, vectors, arrays,
/// optionals, structs with LIGHTNING_UNIT_TENSORS. Anything else is copied by value; what it refers
/// to must live until backward.
template <typename Layer>
class Unit {
 public:
  using Impl = typename Layer::ContainedType;

  Unit() = default;
  Unit(std::nullptr_t) {}  // NOLINT: implicit, as with module holders
  explicit Unit(std::shared_ptr<UnitImpl<Impl>> impl) : impl_(std::move(impl)) {}

  template <typename... Args>
  auto operator()(Args&&... args) const {
    using Result = std::decay_t<decltype(std::declval<Impl&>().forward(
        std::declval<std::decay_t<Args>>()...))>;
    static_assert(!std::is_void_v<Result>, "a unit's forward() must return something");
    Impl& layer = *impl_;
    if (!impl_->is_active()) return Result(layer.forward(std::forward<Args>(args)...));
    auto arguments = std::tuple<std::decay_t<Args>...>(std::forward<Args>(args)...);
    const std::vector<at::Tensor> inputs = detail::take_tensors(arguments);
    const auto result = std::make_shared<std::optional<Result>>();
    auto forward = [impl = impl_, arguments = std::move(arguments),
                    result](const std::vector<at::Tensor>& tensors) {
      auto given = arguments;
      detail::put_tensors(given, tensors);
      Impl& to_call = *impl;
      Result value = std::apply(
          [&](auto&... each) { return Result(to_call.forward(std::move(each)...)); }, given);
      std::vector<at::Tensor> outputs = detail::take_tensors(value);
      *result = std::move(value);
      return outputs;
    };
    const std::vector<at::Tensor> outputs =
        detail::call_unit(impl_, *impl_, inputs, std::move(forward));
    Result value = std::move(**result);
    detail::put_tensors(value, outputs);
    return value;
  }

  /// For the layer's members; its forward() can't be called.
  UnitImpl<Impl>* operator->() const { return impl_.get(); }
  const std::shared_ptr<UnitImpl<Impl>>& ptr() const { return impl_; }
  explicit operator bool() const { return impl_ != nullptr; }

 private:
  std::shared_ptr<UnitImpl<Impl>> impl_;
};

namespace detail {

template <typename Layer>
std::shared_ptr<UnitImpl<typename Layer::ContainedType>> make_unit(const std::string& name,
                                                                   const Layer& layer) {
  using Impl = typename Layer::ContainedType;
  static_assert(!std::is_final_v<Impl>, "a unit's layer must not be a final class");
  LIGHTNING_CHECK(!layer.is_empty(), ConfigError, "Unit: the layer ", name,
                  " is null, expected one. HINT: construct it before register_unit().");
  const Impl& given = *layer;
  LIGHTNING_CHECK(typeid(given) == typeid(Impl), ConfigError, "Unit: the layer ", name,
                  " is of a class derived from its holder's, expected that very class. HINT: give "
                  "the derived class a holder by TORCH_MODULE.");
  given.name();  // from here on the layer's own name, which the copy takes along
  return std::make_shared<UnitImpl<Impl>>(given);
}

}  // namespace detail

/// Registers a layer as a unit in `owner`, with no further level in the names of its parameters.
/// The unit is a copy that shares the layer's tensors: use what is returned, not `layer`. Throws
/// ConfigError for a null layer and for one that a copy would cut down to a base class.
template <typename Layer>
Unit<Layer> register_unit(torch::nn::Module& owner, const std::string& name, const Layer& layer) {
  return Unit<Layer>(owner.register_module(name, detail::make_unit(name, layer)));
}

/// The level "layer" in "layer.0", "layer.1". Clones along with its owner.
template <typename Layer>
class UnitListImpl : public torch::nn::Cloneable<UnitListImpl<Layer>> {
 public:
  using Impl = typename Layer::ContainedType;

  void reset() override {}
  std::shared_ptr<torch::nn::Module> clone(
      const std::optional<at::Device>& device = std::nullopt) const override {
    const auto copy = std::make_shared<UnitListImpl>();
    for (const Unit<Layer>& unit : units) {
      copy->add(std::dynamic_pointer_cast<UnitImpl<Impl>>(unit->clone(device)));
    }
    return copy;
  }
  void add(std::shared_ptr<UnitImpl<Impl>> unit) {
    const std::string name = std::to_string(units.size());
    units.push_back(Unit<Layer>(this->register_module(name, std::move(unit))));
  }

  std::vector<Unit<Layer>> units;
};

/// Units of one type, which keep it; ModuleList loses it. Copies share the list.
template <typename Layer>
class UnitList {
 public:
  UnitList() = default;
  UnitList(torch::nn::Module& owner, const std::string& name)
      : impl_(owner.register_module(name, std::make_shared<UnitListImpl<Layer>>())) {}

  void push_back(const Layer& layer) {
    impl_->add(detail::make_unit(std::to_string(size()), layer));
  }
  size_t size() const { return impl_->units.size(); }
  const Unit<Layer>& operator[](size_t index) const { return impl_->units.at(index); }
  auto begin() const { return impl_->units.cbegin(); }
  auto end() const { return impl_->units.cend(); }

 private:
  std::shared_ptr<UnitListImpl<Layer>> impl_;
};

}  // namespace lightning
