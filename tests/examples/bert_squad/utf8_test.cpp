#include "examples/bert_squad/utf8.h"

#include <string>

#include <lightning/util/error.h>
#include <catch2/catch.hpp>

namespace {

using namespace bert_squad;
using Catch::Contains;
using lightning::DataError;

TEST_CASE("Code points are counted, not bytes", "[utf8]") {
  CHECK(code_point_count("") == 0);
  CHECK(code_point_count("plain ASCII text") == 16);
  CHECK(code_point_count("caf\u00e9 \u65e5\u672c \U0001F600") == 9);
}

TEST_CASE("Code point ranges are cut out of a text", "[utf8]") {
  const std::string text = "0123456789 \u00e9\u65e5\U0001F600 end";
  CHECK(substr_code_points(text, 0, 3) == "012");
  CHECK(substr_code_points(text, 11, 14) == "\u00e9\u65e5\U0001F600");
  CHECK(substr_code_points(text, 14, 18) == " end");
  CHECK(substr_code_points(text, 18, 18).empty());
  CHECK(byte_index(text, 12) == 13);
  CHECK(byte_index(text, 18) == text.size());
}

TEST_CASE("Code point ranges outside a text are errors that name them", "[utf8]") {
  CHECK_THROWS_WITH(substr_code_points("\u00e9t\u00e9", 1, 4), Contains("[1, 4)") && Contains("3"));
  CHECK_THROWS_AS(substr_code_points("abc", 2, 1), DataError);
  CHECK_THROWS_AS(substr_code_points("abc", -1, 1), DataError);
  CHECK_THROWS_AS(byte_index("abc", 4), DataError);
}

TEST_CASE("Every code point survives encoding and decoding", "[utf8]") {
  int64_t failures = 0;
  for (char32_t code = 0; code <= 0x10FFFF; ++code) {
    char bytes[4];
    const size_t size = encode_code_point(code, bytes);
    const CodePoint decoded = decode_code_point({bytes, size});
    const bool surrogate = code >= 0xD800 && code < 0xE000;
    failures += surrogate ? decoded.size != 0 : decoded.value != code || decoded.size != size;
    if (size > 1) failures += decode_code_point({bytes, size - 1}).size != 0;
  }
  CHECK(failures == 0);
}

TEST_CASE("Invalid UTF-8 is found at its byte", "[utf8]") {
  struct Case {
    const char* what;
    std::string bytes;
  };
  const Case cases[] = {
      {"lone continuation", "\x80"},
      {"overlong slash", "\xC0\xAF"},
      {"overlong two bytes", "\xC1\xBF"},
      {"overlong three bytes", "\xE0\x9F\xBF"},
      {"overlong four bytes", "\xF0\x8F\xBF\xBF"},
      {"surrogate", "\xED\xA0\x80"},
      {"above the last", "\xF4\x90\x80\x80"},
      {"no lead byte", "\xFF"},
      {"cut off", "\xE6\x97"},
      {"wrong continuation", "\xE6\x97g"},
  };
  for (const Case& test : cases) {
    INFO(test.what);
    // Behind 9 bytes of ASCII and a two-byte character: both scanning speeds come by.
    const std::string text = "12345678 \u00e9" + test.bytes;
    CHECK(find_invalid_utf8(text) == 11);
    CHECK_THROWS_WITH(code_point_count(text), Contains("byte 11 (0x"));
    CHECK_THROWS_AS(code_point_count(text), DataError);
  }
  CHECK(find_invalid_utf8("12345678 \u00e9\u65e5\U0001F600") == std::string_view::npos);
}

TEST_CASE("Texts of files are shown without what a terminal can't show", "[utf8]") {
  using bert_squad::shown_text;
  using namespace std::string_literals;
  CHECK(shown_text("Rhône 日本 😀") == "\"Rhône 日本 😀\"");
  CHECK(shown_text("a\0b\x1b[2J\x7f"s) == R"("a\x00b\x1b[2J\x7f")");
  CHECK(shown_text("a\xff\xc3") == R"("a\xff\xc3")");
  CHECK(shown_text("\u0085") == R"("\xc2\x85")");
  CHECK(shown_text("日本語", 2) == "\"日本...\"");
  CHECK(shown_text("日本", 2) == "\"日本\"");
}

TEST_CASE("Lines are counted from 1", "[utf8]") {
  CHECK(bert_squad::line_at("a\nb\n", 0) == 1);
  CHECK(bert_squad::line_at("a\nb\n", 1) == 1);
  CHECK(bert_squad::line_at("a\nb\n", 2) == 2);
  CHECK(bert_squad::line_at("a\nb\n", 99) == 3);
}

}  // namespace
