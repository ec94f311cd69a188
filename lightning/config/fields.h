/// The field list of an options struct: one line per field, from which YAML, the command line,
/// --help, --print_config and the copy saved with a run are all made. Write it at namespace scope
/// beside the struct, in the struct's own namespace; this header pulls in no YAML library.
///
///   enum class Mode { kMin, kMax };
///   LIGHTNING_ENUM(Mode, LIGHTNING_ENUMERATOR(kMin, "min"), LIGHTNING_ENUMERATOR(kMax, "max"));
///
///   struct StopperOptions {
///     std::string monitor;
///     int64_t patience = 3;
///     Mode mode = Mode::kMin;
///   };
///   LIGHTNING_FIELDS(StopperOptions,
///                    LIGHTNING_FIELD(monitor, "metric to watch"),
///                    LIGHTNING_FIELD(patience, "validations without improvement"),
///                    LIGHTNING_FIELD(mode, "whether smaller or larger is better"));
///
/// A field that is left out, listed twice or out of order is a compile error. docs/config.md lists
/// the types that a field may have.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

namespace lightning::config {

template <typename Struct, typename Member>
struct Field {
  std::string_view name;
  Member Struct::*member;
  std::string_view help;
};

template <typename Enum>
struct Enumerator {
  Enum value;
  std::string_view text;
};

namespace detail {

/// Stands for a value of any type where only the number of fields counts.
struct AnyValue {
  template <typename T>
  operator T() const;  // NOLINT: implicit on purpose
};

/// The members listed initialise the struct one by one, and there is no field after them.
template <typename Struct, typename... Members>
constexpr bool lists_every_field() {
  constexpr bool one_by_one = requires { Struct{std::declval<Members>()...}; };
  if constexpr (sizeof...(Members) == 0) {
    return std::is_empty_v<Struct>;
  } else {
    // Some fields take braces (optional), others only a value (no default constructor).
    constexpr bool more = requires { Struct{std::declval<Members>()..., {}}; }
    || requires { Struct{std::declval<Members>()..., AnyValue{}}; };
    return one_by_one && !more;
  }
}

template <size_t n>
constexpr bool all_differ(const std::array<std::string_view, n>& names) {
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < i; ++j) {
      if (names[i] == names[j]) return false;
    }
  }
  return true;
}

template <typename Struct, typename... Members>
constexpr auto make_fields(Field<Struct, Members>... fields) {
  static_assert(std::is_aggregate_v<Struct>,
                "LIGHTNING_FIELDS: options are plain aggregates (no constructors, no bases, no "
                "private members)");
  static_assert(lists_every_field<Struct, Members...>(),
                "LIGHTNING_FIELDS: list every field of the struct once, in the order of "
                "declaration");
  return std::tuple(fields...);
}

template <typename Enum, size_t n>
constexpr std::array<Enumerator<Enum>, n> make_enumerators(const Enumerator<Enum> (&list)[n]) {
  std::array<Enumerator<Enum>, n> enumerators{};
  for (size_t i = 0; i < n; ++i) enumerators[i] = list[i];
  return enumerators;
}

}  // namespace detail

/// A struct with LIGHTNING_FIELDS.
template <typename T>
concept HasFields = std::is_class_v<T> && requires(const T* tag) {
  lightning_fields(tag);
};

/// An enum with LIGHTNING_ENUM.
template <typename T>
concept HasEnumerators = std::is_enum_v<T> && requires(const T* tag) {
  lightning_enumerators(tag);
};

}  // namespace lightning::config

#define LIGHTNING_FIELD(member, help) \
  ::lightning::config::Field { #member, &LightningOptions_::member, help }

#define LIGHTNING_FIELDS(Struct, ...)                                                       \
  [[maybe_unused]] constexpr auto lightning_fields(const Struct*) {                         \
    using LightningOptions_ [[maybe_unused]] = Struct;                                      \
    return ::lightning::config::detail::make_fields<Struct>(__VA_ARGS__);                   \
  }                                                                                         \
  static_assert(std::apply(                                                                 \
                    [](const auto&... fields) {                                             \
                      return ::lightning::config::detail::all_differ(                       \
                          std::array<std::string_view, sizeof...(fields)>{fields.name...}); \
                    },                                                                      \
                    lightning_fields(static_cast<const Struct*>(nullptr))),                 \
                "LIGHTNING_FIELDS: a field is listed twice");

/// Several texts may stand for one value; the first is the one that is written.
#define LIGHTNING_ENUMERATOR(enumerator, text) \
  ::lightning::config::Enumerator<LightningEnum_> { LightningEnum_::enumerator, text }

#define LIGHTNING_ENUM(Enum, ...)                                              \
  [[maybe_unused]] constexpr auto lightning_enumerators(const Enum*) {         \
    using LightningEnum_ = Enum;                                               \
    return ::lightning::config::detail::make_enumerators<Enum>({__VA_ARGS__}); \
  }
