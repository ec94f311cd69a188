#include <lightning/config/detail/duration.h>

#include <catch2/catch.hpp>

using lightning::config::duration_text;
using lightning::config::parse_duration;
using std::chrono::milliseconds;

TEST_CASE("parse_duration reads units and Lightning's form") {
  CHECK(parse_duration("90s") == milliseconds(90'000));
  CHECK(parse_duration("15min") == milliseconds(900'000));
  CHECK(parse_duration("2h") == milliseconds(7'200'000));
  CHECK(parse_duration("500ms") == milliseconds(500));
  CHECK(parse_duration("1d12h") == milliseconds(129'600'000));
  CHECK(parse_duration("1h30min") == milliseconds(5'400'000));
  CHECK(parse_duration("00:12:00:00") == milliseconds(43'200'000));
  CHECK(parse_duration("01:02:03:04") == milliseconds(93'784'000));
  CHECK(parse_duration("0s") == milliseconds(0));
}

TEST_CASE("parse_duration refuses everything else") {
  for (const char* text :
       {"", "90", "s", "-1s", "1.5h", "90 s", "2hours", "12:00", "1:2:3", "a:b:c:d", "1:2:3:4:5",
        "1h30", "99999999999999999999s", "9223372036854775807d"}) {
    INFO(text);
    CHECK_FALSE(parse_duration(text).has_value());
  }
}

TEST_CASE("duration_text takes the largest unit and reads back") {
  CHECK(duration_text(milliseconds(7'200'000)) == "2h");
  CHECK(duration_text(milliseconds(90'000)) == "90s");
  CHECK(duration_text(milliseconds(86'400'000)) == "1d");
  CHECK(duration_text(milliseconds(1'500)) == "1500ms");
  CHECK(duration_text(milliseconds(0)) == "0s");
  for (int64_t count : {1, 999, 60'000, 3'600'001, 86'400'000}) {
    CHECK(parse_duration(duration_text(milliseconds(count))) == milliseconds(count));
  }
}
