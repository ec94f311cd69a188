/// StateDict: the one value type that everything resumable saves and loads (callbacks, schedulers,
/// optimizers, loaders, users' own checkpoint entries). A flat, ordered map from slash-separated
/// names to scalars, strings, lists and tensors; in a checkpoint the tensors go to safetensors and
/// the rest to JSON, so loading never runs code.
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <ATen/core/Tensor.h>

#include <lightning/util/error.h>
#include <lightning/util/export.h>

namespace lightning {

class LIGHTNING_API StateDict {
 public:
  using Value = std::variant<bool, int64_t, double, std::string, at::Tensor, std::vector<int64_t>,
                             std::vector<double>, std::vector<std::string>>;
  using Entry = std::pair<std::string, Value>;

  /// Adds or replaces an entry. Integers of any width are stored as int64_t.
  void set(std::string_view name, Value value);
  // A template: an overload for int would take doubles, booleans and wider integers as well.
  template <std::integral Integer>
  requires(!std::same_as<Integer, bool>) void set(std::string_view name, Integer value) {
    set(name, Value(static_cast<int64_t>(value)));
  }
  void set(std::string_view name, const char* value) { set(name, Value(std::string(value))); }
  /// Adds every entry of `nested` under `name/...`.
  void set(std::string_view name, const StateDict& nested);

  bool contains(std::string_view name) const;
  /// Whether any entry lies under `name/...`.
  bool contains_nested(std::string_view name) const;

  /// Throws CheckpointError when there is no such entry (lists what is there) or it has another
  /// type.
  template <typename T>
  const T& get(std::string_view name) const& {
    const T* value = std::get_if<T>(&at(name));
    if (value == nullptr) throw_wrong_type(name);
    return *value;
  }
  /// By value from a temporary, whose entries are gone before a loop over them begins.
  template <typename T>
  T get(std::string_view name) && {
    return std::as_const(*this).template get<T>(name);
  }

  /// The entries under `name/...`, without that prefix; empty when there are none.
  StateDict nested(std::string_view name) const;
  /// The distinct first parts of all names, in order.
  std::vector<std::string> top_level_names() const;

  const std::vector<Entry>& entries() const& { return entries_; }
  std::vector<Entry> entries() && { return std::move(entries_); }
  bool empty() const { return entries_.empty(); }

 private:
  const Value& at(std::string_view name) const;
  [[noreturn]] void throw_wrong_type(std::string_view name) const;

  std::vector<Entry> entries_;
};

}  // namespace lightning
