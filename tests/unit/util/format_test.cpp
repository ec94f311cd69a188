#include <lightning/util/format.h>

#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <string_view>

#include <catch2/catch.hpp>

#include <lightning/util/error.h>

using lightning::format;
using lightning::detail::concat;
using lightning::detail::find_format_fault;
using lightning::detail::FormatFault;
using lightning::detail::FormatKind;

// What the compiler refuses.
static_assert(find_format_fault("no field", {}) == FormatFault::kNone);
static_assert(find_format_fault("{} {{}} {}", {FormatKind::kText, FormatKind::kFloat}) ==
              FormatFault::kNone);
static_assert(find_format_fault("{}", {}) == FormatFault::kTooFewValues);
static_assert(find_format_fault("{{}}", {FormatKind::kText}) == FormatFault::kTooManyValues);
static_assert(find_format_fault("{", {FormatKind::kText}) == FormatFault::kUnmatchedBrace);
static_assert(find_format_fault("a } b", {}) == FormatFault::kUnmatchedBrace);
static_assert(find_format_fault("{:{}}", {FormatKind::kSigned}) == FormatFault::kUnmatchedBrace);
static_assert(find_format_fault("{0}", {FormatKind::kSigned}) == FormatFault::kBadField);
static_assert(find_format_fault("{:.2f}", {FormatKind::kFloat}) == FormatFault::kNone);
static_assert(find_format_fault("{:.2f}", {FormatKind::kSigned}) == FormatFault::kBadField);
static_assert(find_format_fault("{:d}", {FormatKind::kFloat}) == FormatFault::kBadField);
static_assert(find_format_fault("{:d}", {FormatKind::kText}) == FormatFault::kBadField);
static_assert(find_format_fault("{:*>+#08x}", {FormatKind::kUnsigned}) == FormatFault::kNone);
static_assert(find_format_fault("{:+}", {FormatKind::kStreamed}) == FormatFault::kBadField);
static_assert(find_format_fault("{:.}", {FormatKind::kFloat}) == FormatFault::kBadField);

namespace {

struct Point {
  int x;
  int y;
};
std::ostream& operator<<(std::ostream& out, const Point& point) {
  return out << '(' << point.x << ", " << point.y << ')';
}

}  // namespace

TEST_CASE("format() puts values into the fields of a text") {
  CHECK(format("{} of {}", 3, size_t{10}) == "3 of 10");
  CHECK(format("{{{}}}", "text {} with braces") == "{text {} with braces}");
  CHECK(format("{}{}{}", std::string("a"), std::string_view("b"), 'c') == "abc");
  CHECK(
      format("{} {}", std::numeric_limits<int64_t>::min(), std::numeric_limits<uint64_t>::max()) ==
      "-9223372036854775808 18446744073709551615");
  CHECK(format("{} {}", int8_t{-5}, uint8_t{200}) == "-5 200");
  CHECK(format("{}", true) == "true");
}

TEST_CASE("format() writes floating-point numbers with six significant digits or as told") {
  CHECK(format("{} {} {}", 0.1, 1.0 / 3, 1e-9F) == "0.1 0.333333 1e-09");
  CHECK(format("{:.3f}|{:8.2f}|{:e}|{:g}", 2.0, -1.5, 12.0, 1e7) ==
        "2.000|   -1.50|1.200000e+01|1e+07");
  CHECK(format("{} {}", std::numeric_limits<double>::infinity(),
               std::numeric_limits<float>::quiet_NaN()) == "inf nan");
}

TEST_CASE("format() knows widths, types and what has an operator<<") {
  CHECK(format("{:>5}|{:<5}|{:^5}|{:*^5}", "ab", "ab", 7, 'x') == "   ab|ab   |  7  |**x**");
  CHECK(format("{:#x} {:03d} {:.2}", 255, 7, "abc") == "0xff 007 ab");
  CHECK(format("{:>8} {}", Point{1, 2}, std::filesystem::path("a b")) == "  (1, 2) \"a b\"");
}

TEST_CASE("concat() writes its parts as format() does, and errors have them") {
  CHECK(concat("loss ", 1.0 / 3, ' ', std::string("{}"), 5, Point{3, 4}) ==
        "loss 0.333333 {}5(3, 4)");
  CHECK(concat().empty());
  const auto check = [](int value) {
    LIGHTNING_CHECK(value > 0, DataError, "test: value is ", value, ", expected more than ", 0.5);
  };
  CHECK_THROWS_WITH(check(-3), "test: value is -3, expected more than 0.5");
  CHECK_NOTHROW(check(3));
}
