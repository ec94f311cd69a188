#include <catch2/catch.hpp>

#include <lightning/callbacks/detail/filename_template.h>
#include <lightning/util/error.h>

using lightning::check_filename_template;
using lightning::format_filename;

TEST_CASE("A filename template inserts names and values", "[callbacks]") {
  const lightning::FilenameValues values = {{"epoch", 3},
                                            {"step", 1200},
                                            {"val_loss", 0.41234},
                                            {"val/f1", 87.5},
                                            {"stale", std::nullopt}};
  CHECK(format_filename("{epoch}-{step}", values) == "epoch=3-step=1200");
  CHECK(format_filename("best-{val_loss:.2f}", values) == "best-val_loss=0.41");
  CHECK(format_filename("{epoch:03d}", values) == "epoch=003");
  CHECK(format_filename("{val/f1:.1f}", values) == "val_f1=87.5");
  CHECK(format_filename("plain", values) == "plain");
  CHECK(format_filename("{stale}-{stale:.2f}", values) == "stale=none-stale=none");
}

TEST_CASE("A filename template that can't be used is an error", "[callbacks]") {
  CHECK_THROWS_WITH(format_filename("{lost}", {{"epoch", 1}}),
                    Catch::Contains("lost") && Catch::Contains("epoch"));
  for (const char* broken : {"", "{epoch", "epoch}", "{epoch:%s}", "{epoch:s}", "{epoch:.2.3f}",
                             ".x", "../x", "a/{epoch}", "last", "best"}) {
    INFO(broken);
    CHECK_THROWS_AS(check_filename_template(broken), lightning::ConfigError);
  }
}
