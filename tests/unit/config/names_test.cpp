#include <lightning/config/detail/names.h>

#include <catch2/catch.hpp>

using lightning::config::name_hint;
using lightning::config::nearest_name;

TEST_CASE("nearest_name finds the name that was meant") {
  const std::vector<std::string> names = {"max_epochs", "max_steps",     "min_epochs",
                                          "precision",  "learning_rate", "lr"};
  CHECK(nearest_name("max_epoch", names) == "max_epochs");
  CHECK(nearest_name("max_setps", names) == "max_steps");
  CHECK(nearest_name("max-epochs", names) == "max_epochs");
  CHECK(nearest_name("MAX_EPOCHS", names) == "max_epochs");
  CHECK(nearest_name("epochs", names) == "max_epochs");
  CHECK(nearest_name("learning_rat", names) == "learning_rate");
  CHECK(nearest_name("batch_size", names).empty());
  CHECK(nearest_name("x", names).empty());
}

TEST_CASE("nearest_name finds a dotted name whose section is wrong") {
  const std::vector<std::string> names = {"trainer.max_epochs", "model.learning_rate"};
  CHECK(nearest_name("trainer.learning_rate", names) == "model.learning_rate");
  CHECK(nearest_name("max_epochs", names) == "trainer.max_epochs");
}

TEST_CASE("name_hint lists the names when none is near") {
  CHECK(name_hint("zzz", "keys", {"a", "b"}) == " HINT: the keys are a, b.");
  CHECK(name_hint("zzz", "keys", {}) == " HINT: there are no keys.");
  CHECK(name_hint("patienc", "keys", {"patience"}) == " HINT: did you mean \"patience\"?");
}
