/// From C++ types to TypeInfo records: one per type, made on first use. The work is done in
/// value_io.cpp.
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <lightning/config/fields.h>
#include <lightning/config/node.h>
#include <lightning/config/type_info.h>
#include <lightning/config/value_io.h>
#include <lightning/util/error.h>

namespace lightning::config {

/// A type that defines how it is written: `static T from_text(std::string_view)`, which throws
/// ConfigError("expected ..."), and `std::string to_text() const`. Lists and maps come as
/// flow YAML ("[0, 1]"). A `static std::string type_name()`, if there is one, is shown by --help.
template <typename T>
concept HasText = std::is_class_v<T> && requires(const T& value, std::string_view text) {
  { T::from_text(text) } -> std::same_as<T>;
  { value.to_text() } -> std::convertible_to<std::string>;
};

/// A type that reads and writes nodes itself, such as a ClassSpec: read() lays a node over the
/// value and throws ConfigError; `static std::string type_name()` is shown by --help. A `static
/// const RegistryBase& registry()`, if there is one, has the classes that values name.
template <typename T>
concept HasNode = std::is_class_v<T> &&
    requires(T& value, const ConfigNode& node, std::string_view path) {
  value.read(node, path);
  { std::as_const(value).to_node() } -> std::same_as<ConfigNode>;
  { T::type_name() } -> std::convertible_to<std::string>;
};

template <typename T>
const TypeInfo& type_info();

namespace detail {

template <typename T>
constexpr bool is_optional = false;
template <typename T>
constexpr bool is_optional<std::optional<T>> = true;
template <typename T>
constexpr bool is_vector = false;
template <typename T>
constexpr bool is_vector<std::vector<T>> = true;
template <typename T>
constexpr bool is_duration = false;
template <typename Rep, typename Period>
constexpr bool is_duration<std::chrono::duration<Rep, Period>> = true;
template <typename T>
constexpr bool is_integer = std::integral<T> && !std::same_as<T, bool> && !std::same_as<T, char> &&
                            !std::same_as<T, wchar_t> && !std::same_as<T, char8_t> &&
                            !std::same_as<T, char16_t> && !std::same_as<T, char32_t>;

/// Reading and writing values of T; type_info<T>() is made of it.
template <typename T>
struct Value;

template <>
struct Value<bool> {
  static TypeInfo info() { return {.name = "true|false", .expected = "true or false"}; }
  static void read(const ConfigNode& node, bool& value, std::string_view path) {
    value = read_bool(node, path);
  }
  static ConfigNode write(bool value) { return ConfigNode::scalar(value ? "true" : "false"); }
};

template <typename T>
requires is_integer<T>
struct Value<T> {
  static TypeInfo info() { return {.name = "integer", .expected = "an integer"}; }
  static void read(const ConfigNode& node, T& value, std::string_view path) {
    using Limits = std::numeric_limits<T>;
    if constexpr (std::is_signed_v<T>) {
      value = static_cast<T>(read_signed(node, path, Limits::min(), Limits::max()));
    } else {
      value = static_cast<T>(read_unsigned(node, path, Limits::max()));
    }
  }
  static ConfigNode write(T value) { return ConfigNode::scalar(std::to_string(value)); }
};

template <>
struct Value<double> {
  static TypeInfo info() { return {.name = "number", .expected = "a number"}; }
  static void read(const ConfigNode& node, double& value, std::string_view path) {
    value = read_double(node, path);
  }
  static ConfigNode write(double value) { return write_double(value); }
};

template <>
struct Value<float> {
  static TypeInfo info() { return {.name = "number", .expected = "a number"}; }
  static void read(const ConfigNode& node, float& value, std::string_view path) {
    value = read_float(node, path);
  }
  static ConfigNode write(float value) { return write_float(value); }
};

template <>
struct Value<std::string> {
  static TypeInfo info() { return {.name = "string", .expected = "a string", .is_text = true}; }
  static void read(const ConfigNode& node, std::string& value, std::string_view path) {
    value = read_string(node, path, "a string");
  }
  static ConfigNode write(const std::string& value) { return write_string(value); }
};

template <>
struct Value<std::filesystem::path> {
  static TypeInfo info() { return {.name = "path", .expected = "a path", .is_text = true}; }
  static void read(const ConfigNode& node, std::filesystem::path& value, std::string_view path) {
    value = read_string(node, path, "a path");
  }
  static ConfigNode write(const std::filesystem::path& value) {
    return write_string(value.string());
  }
};

template <typename T>
requires is_duration<T>
struct Value<T> {
  static TypeInfo info() { return {.name = "duration", .expected = "a duration"}; }
  static void read(const ConfigNode& node, T& value, std::string_view path) {
    value = std::chrono::duration_cast<T>(read_duration(node, path, T(1)));
  }
  static ConfigNode write(T value) { return write_duration(value); }
};

template <HasEnumerators T>
struct Value<T> {
  static constexpr auto kEnumerators = lightning_enumerators(static_cast<const T*>(nullptr));
  /// Every text, or only those that are written.
  static std::vector<std::string> texts(bool with_aliases) {
    std::vector<std::string> list;
    for (size_t i = 0; i < kEnumerators.size(); ++i) {
      bool is_alias = false;
      for (size_t j = 0; j < i; ++j) is_alias |= kEnumerators[j].value == kEnumerators[i].value;
      if (with_aliases || !is_alias) list.emplace_back(kEnumerators[i].text);
    }
    return list;
  }
  static TypeInfo info() {
    std::string name;
    for (const std::string& text : texts(/*with_aliases=*/false)) {
      name += (name.empty() ? "" : "|") + text;
    }
    return {.name = name, .expected = expected_choice(texts(/*with_aliases=*/false))};
  }
  static void read(const ConfigNode& node, T& value, std::string_view path) {
    value =
        kEnumerators[read_choice(node, path, texts(/*with_aliases=*/true), type_info<T>().expected)]
            .value;
  }
  static ConfigNode write(T value) {
    for (const auto& enumerator : kEnumerators) {
      if (enumerator.value == value) return write_string(std::string(enumerator.text));
    }
    throw ConfigError("config: enum value " + std::to_string(static_cast<long long>(value)) +
                      " has no name, expected one listed in its LIGHTNING_ENUM");
  }
};

template <HasText T>
struct Value<T> {
  static std::string type_name() {
    if constexpr (requires { T::type_name(); }) return std::string(T::type_name());
    return "text";
  }
  static TypeInfo info() { return {.name = type_name(), .expected = type_name()}; }
  static void read(const ConfigNode& node, T& value, std::string_view path) {
    const std::string text = read_text(node, path, type_name());
    try {
      value = T::from_text(text);
    } catch (const ConfigError& error) {
      throw_located(node, path, text, error);
    }
  }
  static ConfigNode write(const T& value) { return write_text(value.to_text()); }
};

template <HasNode T>
struct Value<T> {
  static TypeInfo info() {
    TypeInfo info{.name = T::type_name(), .expected = T::type_name()};
    if constexpr (requires { T::registry(); }) info.registries = {&T::registry};
    return info;
  }
  static void read(const ConfigNode& node, T& value, std::string_view path) {
    value.read(node, path);
  }
  static ConfigNode write(const T& value) { return value.to_node(); }
};

template <typename T>
struct Value<std::optional<T>> {
  static TypeInfo info() {
    const TypeInfo& element = type_info<T>();
    return {.name = element.name + " or null",
            .expected = element.expected + " or null",
            .structure = element.structure,
            .is_text = element.is_text,
            .is_optional = true,
            .registries = element.registries};
  }
  static void read(const ConfigNode& node, std::optional<T>& value, std::string_view path) {
    if (node.is_null()) {
      value.reset();
      return;
    }
    if (!value) value.emplace();
    type_info<T>().read(node, &*value, path);
  }
  static ConfigNode write(const std::optional<T>& value) {
    return value ? type_info<T>().write(&*value) : ConfigNode();
  }
};

template <typename T>
struct Value<std::vector<T>> {
  static TypeInfo info() {
    const TypeInfo& element = type_info<T>();
    return {.name = "list of " + element.name,
            .expected = "a list of " + element.name,
            .registries = element.registries};
  }
  static void read(const ConfigNode& node, std::vector<T>& value, std::string_view path) {
    std::vector<T> items;
    for (const ConfigNode& item : read_list(node, path, info().expected)) {
      T element{};
      type_info<T>().read(item, &element, std::string(path) + "." + std::to_string(items.size()));
      items.push_back(std::move(element));
    }
    value = std::move(items);
  }
  static ConfigNode write(const std::vector<T>& value) {
    std::vector<ConfigNode> items;
    for (const T& element : value) items.push_back(type_info<T>().write(&element));
    return ConfigNode::list(std::move(items));
  }
};

template <HasFields T>
struct Value<T> {
  static const StructInfo& structure() {
    static const StructInfo info = make_structure();
    return info;
  }
  static TypeInfo info() {
    TypeInfo info{.name = "map", .expected = "a map of keys", .structure = &structure()};
    for (const FieldInfo& field : structure().fields) {
      const auto& more = field.type->registries;
      info.registries.insert(info.registries.end(), more.begin(), more.end());
    }
    return info;
  }
  static void read(const ConfigNode& node, T& value, std::string_view path) {
    read_struct(node, &value, path, structure());
  }
  static ConfigNode write(const T& value) { return write_struct(&value, structure()); }

 private:
  static StructInfo make_structure() {
    const T sample{};
    StructInfo info;
    const auto add = [&]<typename Member>(const Field<T, Member>& field) {
      const auto* begin = reinterpret_cast<const char*>(&sample);
      const auto* member = reinterpret_cast<const char*>(&(sample.*field.member));
      info.fields.push_back({std::string(field.name), std::string(field.help),
                             static_cast<size_t>(member - begin), &type_info<Member>()});
    };
    std::apply([&](const auto&... fields) { (add(fields), ...); },
               lightning_fields(static_cast<const T*>(nullptr)));
    return info;
  }
};

template <typename T>
concept HasValue = requires {
  Value<T>::info();
};

}  // namespace detail

template <typename T>
const TypeInfo& type_info() {
  static_assert(
      detail::HasValue<T>,
      "no config form for this type: use a supported type (docs/config.md), give a struct "
      "LIGHTNING_FIELDS, an enum LIGHTNING_ENUM, or a class from_text() and to_text()");
  static const TypeInfo info = [] {
    TypeInfo made = detail::Value<T>::info();
    made.write = [](const void* value) {
      return detail::Value<T>::write(*static_cast<const T*>(value));
    };
    made.read = [](const ConfigNode& node, void* value, std::string_view path) {
      detail::Value<T>::read(node, *static_cast<T*>(value), path);
    };
    return made;
  }();
  return info;
}

}  // namespace lightning::config
