#include <lightning/util/detail/strings.h>

#include <cstdint>

#include <catch2/catch.hpp>

using lightning::parse_number;
using lightning::trimmed;

TEST_CASE("trimmed takes blanks off both ends only", "[util]") {
  CHECK(trimmed("  a b\t\r\n") == "a b");
  CHECK(trimmed(" \n").empty());
  CHECK(trimmed("").empty());
}

TEST_CASE("parse_number takes whole texts only", "[util]") {
  CHECK(parse_number<int64_t>("-12") == -12);
  CHECK(parse_number<double>("0.5") == 0.5);
  CHECK(parse_number<uint64_t>("007") == 7);
  for (const char* text : {"", " 1", "1 ", "1a", "a", "+1", "99999999999999999999"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_number<int64_t>(text));
  }
  CHECK_FALSE(parse_number<uint64_t>("-1"));
}
