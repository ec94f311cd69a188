/// LIGHTNING_UNIT_TENSORS: which members of a struct are tensors, for structs that go into units or
/// come out of them (lightning/nn/unit.h).
#pragma once

#include <tuple>

/// In the namespace of `Type`, after its definition:
///   LIGHTNING_UNIT_TENSORS(Hidden, &Hidden::residual, &Hidden::compute)
/// A member may be whatever a unit's argument may be: a tensor, a vector of them, another such
/// struct.
#define LIGHTNING_UNIT_TENSORS(Type, ...)                                              \
  [[maybe_unused]] inline constexpr auto lightning_unit_members(const Type* /*tag*/) { \
    return std::make_tuple(__VA_ARGS__);                                               \
  }
