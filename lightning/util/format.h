/// format("step {} of {}, loss {:.3f}", step, steps, loss): texts with values. The number of
/// replacement fields and what stands in each are checked when the call is compiled.
///
/// A field is {} or {:[[fill]align][sign][#][0][width][.precision][type]} as in std::format; the
/// types are s for texts, c for char, d, x, X, o and b for integers, e, f and g for floating-point
/// numbers. {{ and }} stand for braces. A floating-point number in {} is written like {:g}: six
/// significant digits. Values of classes are written by their operator<<.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iosfwd>
#include <string>
#include <string_view>
#include <type_traits>

#include <lightning/util/export.h>

namespace lightning {
namespace detail {

enum class FormatKind : uint8_t { kText, kCharacter, kBool, kSigned, kUnsigned, kFloat, kStreamed };

template <typename T>
concept Streamable = requires(std::ostream& out, const T& value) {
  out << value;
};

template <typename T>
consteval FormatKind format_kind() {
  if constexpr (std::convertible_to<const T&, std::string_view>)
    return FormatKind::kText;
  else if constexpr (std::same_as<T, char>)
    return FormatKind::kCharacter;
  else if constexpr (std::same_as<T, bool>)
    return FormatKind::kBool;
  else if constexpr (std::signed_integral<T>)
    return FormatKind::kSigned;
  else if constexpr (std::unsigned_integral<T>)
    return FormatKind::kUnsigned;
  else if constexpr (std::floating_point<T>)
    return FormatKind::kFloat;
  else {
    static_assert(Streamable<T>, "format() knows texts, numbers and what has an operator<<");
    return FormatKind::kStreamed;
  }
}

/// One value, by reference: valid as long as the value.
class FormatArgument {
 public:
  template <typename T>
  explicit FormatArgument(const T& value) : kind_(format_kind<T>()) {
    if constexpr (format_kind<T>() == FormatKind::kText) {
      const std::string_view text = value;
      value_.text = {text.data(), text.size()};
    } else if constexpr (format_kind<T>() == FormatKind::kCharacter) {
      value_.character = value;
    } else if constexpr (format_kind<T>() == FormatKind::kBool) {
      value_.boolean = value;
    } else if constexpr (format_kind<T>() == FormatKind::kSigned) {
      value_.signed_integer = value;
    } else if constexpr (format_kind<T>() == FormatKind::kUnsigned) {
      value_.unsigned_integer = value;
    } else if constexpr (format_kind<T>() == FormatKind::kFloat) {
      value_.floating_point = static_cast<double>(value);
    } else {
      value_.streamed = {&value, [](std::ostream& out, const void* object) {
                           out << *static_cast<const T*>(object);
                         }};
    }
  }

  /// Calls visitor with a std::string_view, char, bool, int64_t, uint64_t or double. What has only
  /// an operator<< comes as a std::string_view, valid during the call.
  template <typename Visitor>
  void visit(Visitor&& visitor) const {
    switch (kind_) {
      case FormatKind::kText:
        return visitor(std::string_view(value_.text.data, value_.text.size));
      case FormatKind::kCharacter:
        return visitor(value_.character);
      case FormatKind::kBool:
        return visitor(value_.boolean);
      case FormatKind::kSigned:
        return visitor(value_.signed_integer);
      case FormatKind::kUnsigned:
        return visitor(value_.unsigned_integer);
      case FormatKind::kFloat:
        return visitor(value_.floating_point);
      case FormatKind::kStreamed:
        return visitor(std::string_view(streamed_text()));
    }
  }

 private:
  struct Text {
    const char* data;
    size_t size;
  };
  struct Streamed {
    const void* object;
    void (*write)(std::ostream& out, const void* object);
  };
  union Value {
    Text text;
    char character;
    bool boolean;
    int64_t signed_integer;
    uint64_t unsigned_integer;
    double floating_point;
    Streamed streamed;
  };

  LIGHTNING_API std::string streamed_text() const;

  FormatKind kind_;
  Value value_;
};

enum class FormatFault { kNone, kUnmatchedBrace, kTooFewValues, kTooManyValues, kBadField };

constexpr bool is_one_of(char character, std::string_view set) {
  return set.find(character) != std::string_view::npos;
}

/// Whether spec, the part after the colon of a field, is right for a value of this kind.
constexpr bool is_format_spec(std::string_view spec, FormatKind kind) {
  const auto take = [&spec](std::string_view set) {
    const bool found = !spec.empty() && is_one_of(spec.front(), set);
    if (found) spec.remove_prefix(1);
    return found;
  };
  const auto take_number = [&take] {
    bool found = false;
    while (take("0123456789")) found = true;
    return found;
  };
  const bool is_float = kind == FormatKind::kFloat;
  const bool is_number = is_float || kind == FormatKind::kSigned || kind == FormatKind::kUnsigned;
  const bool is_text = kind == FormatKind::kText || kind == FormatKind::kStreamed;
  if (spec.size() > 1 && is_one_of(spec[1], "<>^")) spec.remove_prefix(1);
  take("<>^");
  if (take("+- ") && !is_number) return false;
  if (take("#") && !is_number) return false;
  if (take("0") && !is_number) return false;
  take_number();
  if (take(".") && (!take_number() || !(is_float || is_text))) return false;
  if (spec.empty()) return true;
  if (spec.size() > 1) return false;
  if (is_text || kind == FormatKind::kBool) return spec == "s";
  if (kind == FormatKind::kCharacter) return spec == "c";
  return is_one_of(spec.front(), is_float ? "eEfFgG" : "dxXob");
}

constexpr FormatFault find_format_fault(std::string_view text,
                                        std::initializer_list<FormatKind> kinds) {
  size_t used = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (!is_one_of(text[i], "{}")) continue;
    if (i + 1 < text.size() && text[i + 1] == text[i]) {
      ++i;
      continue;
    }
    const size_t end = text.find_first_of("{}", i + 1);
    if (text[i] == '}' || end == std::string_view::npos || text[end] == '{') {
      return FormatFault::kUnmatchedBrace;
    }
    if (used == kinds.size()) return FormatFault::kTooFewValues;
    std::string_view field = text.substr(i + 1, end - i - 1);
    if (!field.empty()) {
      if (field.front() != ':') return FormatFault::kBadField;
      field.remove_prefix(1);
      if (!is_format_spec(field, kinds.begin()[used])) return FormatFault::kBadField;
    }
    ++used;
    i = end;
  }
  return used == kinds.size() ? FormatFault::kNone : FormatFault::kTooManyValues;
}

// Called while a wrong format string is compiled: the compiler's message names them.
void format_string_has_an_unmatched_brace();
void format_string_has_more_fields_than_values();
void format_string_has_fewer_fields_than_values();
void format_string_has_a_field_that_does_not_fit_its_value();

LIGHTNING_API std::string format_values(std::string_view text,
                                        std::initializer_list<FormatArgument> values);
LIGHTNING_API std::string join_values(std::initializer_list<FormatArgument> values);

/// The parts one after the other, each as format() writes it in {}.
template <typename... Parts>
std::string concat(const Parts&... parts) {
  return join_values({FormatArgument(parts)...});
}

}  // namespace detail

/// A literal with one replacement field for each of Values.
template <typename... Values>
class FormatString {
 public:
  template <typename Text>
  requires std::convertible_to<const Text&, std::string_view>
  consteval FormatString(const Text& text) : text_(text) {  // NOLINT: from literals
    switch (detail::find_format_fault(text_, {detail::format_kind<Values>()...})) {
      case detail::FormatFault::kNone:
        break;
      case detail::FormatFault::kUnmatchedBrace:
        detail::format_string_has_an_unmatched_brace();
        break;
      case detail::FormatFault::kTooFewValues:
        detail::format_string_has_more_fields_than_values();
        break;
      case detail::FormatFault::kTooManyValues:
        detail::format_string_has_fewer_fields_than_values();
        break;
      case detail::FormatFault::kBadField:
        detail::format_string_has_a_field_that_does_not_fit_its_value();
        break;
    }
  }
  constexpr std::string_view text() const { return text_; }

 private:
  std::string_view text_;
};

namespace detail {

struct Format {
  template <typename... Values>
  std::string operator()(FormatString<std::type_identity_t<Values>...> text,
                         const Values&... values) const {
    return format_values(text.text(), {FormatArgument(values)...});
  }
};

}  // namespace detail

/// An object, so that format("{}", std::string()) doesn't find std::format as well.
inline constexpr detail::Format format;

}  // namespace lightning
