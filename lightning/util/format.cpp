#include <lightning/util/format.h>

#include <iterator>
#include <sstream>

#include <fmt/args.h>
#include <fmt/format.h>

namespace {

/// A number that {} writes with six significant digits, where fmt's own {} writes all there are.
struct FloatingPoint {
  double value;
};

std::string_view as_fmt_value(std::string_view text) { return text; }
FloatingPoint as_fmt_value(double value) { return {value}; }
template <typename T>
T as_fmt_value(T value) {
  return value;
}

}  // namespace

template <>
struct fmt::formatter<FloatingPoint> : fmt::formatter<double> {
  constexpr auto parse(format_parse_context& context) {
    is_plain_ = context.begin() == context.end() || *context.begin() == '}';
    return fmt::formatter<double>::parse(context);
  }
  auto format(FloatingPoint number, format_context& context) const {
    return is_plain_ ? fmt::format_to(context.out(), "{:g}", number.value)
                     : fmt::formatter<double>::format(number.value, context);
  }

 private:
  bool is_plain_ = true;
};

namespace lightning::detail {

std::string FormatArgument::streamed_text() const {
  std::ostringstream out;
  value_.streamed.write(out, value_.streamed.object);
  return std::move(out).str();
}

std::string format_values(std::string_view text, std::initializer_list<FormatArgument> values) {
  fmt::dynamic_format_arg_store<fmt::format_context> store;
  // What operator<< wrote lives only during the visit: the store copies a std::string, not a view.
  for (const FormatArgument& value : values) {
    value.visit([&store](auto it) {
      if constexpr (std::is_same_v<decltype(it), std::string_view>)
        store.push_back(std::string(it));
      else
        store.push_back(as_fmt_value(it));
    });
  }
  return fmt::vformat(text, store);
}

std::string join_values(std::initializer_list<FormatArgument> values) {
  std::string text;
  for (const FormatArgument& value : values) {
    value.visit(
        [&text](auto it) { fmt::format_to(std::back_inserter(text), "{}", as_fmt_value(it)); });
  }
  return text;
}

}  // namespace lightning::detail
