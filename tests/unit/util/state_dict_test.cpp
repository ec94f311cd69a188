#include <lightning/util/state_dict.h>

#include <ATen/ATen.h>

#include <catch2/catch.hpp>

using Catch::Matchers::Contains;
using lightning::CheckpointError;
using lightning::StateDict;

TEST_CASE("StateDict gives back every type of value", "[state_dict]") {
  StateDict state;
  state.set("flag", true);
  state.set("count", 3);
  state.set("long", int64_t{1} << 40);
  state.set("rate", 0.5);
  state.set("name", "best");
  state.set("text", std::string("x"));
  state.set("weight", at::ones({2}));
  state.set("steps", std::vector<int64_t>{1, 2});
  state.set("scores", std::vector<double>{0.5});
  state.set("files", std::vector<std::string>{"a", "b"});
  CHECK(state.get<bool>("flag"));
  CHECK(state.get<int64_t>("count") == 3);
  CHECK(state.get<int64_t>("long") == int64_t{1} << 40);
  CHECK(state.get<double>("rate") == 0.5);
  CHECK(state.get<std::string>("name") == "best");
  CHECK(state.get<at::Tensor>("weight").equal(at::ones({2})));
  CHECK(state.get<std::vector<int64_t>>("steps") == std::vector<int64_t>{1, 2});
  CHECK(state.get<std::vector<double>>("scores") == std::vector<double>{0.5});
  CHECK(state.get<std::vector<std::string>>("files")[1] == "b");
}

TEST_CASE("StateDict keeps the order of entries and replaces in place", "[state_dict]") {
  StateDict state;
  CHECK(state.empty());
  state.set("b", 1);
  state.set("a", 2);
  state.set("b", "new");
  REQUIRE(state.entries().size() == 2);
  CHECK(state.entries()[0].first == "b");
  CHECK(state.get<std::string>("b") == "new");
  CHECK(state.entries()[1].first == "a");
}

TEST_CASE("StateDict gives what a temporary holds by value", "[state_dict]") {
  StateDict state;
  state.set("inner/names", std::vector<std::string>{"one", "two"});
  std::string names;
  for (const std::string& name : state.nested("inner").get<std::vector<std::string>>("names")) {
    names += name + " ";
  }
  CHECK(names == "one two ");
  for (const auto& [name, value] : state.nested("inner").entries()) CHECK(name == "names");
  CHECK_THROWS_AS(StateDict().get<bool>("flag"), CheckpointError);
}

TEST_CASE("StateDict nests under names and takes parts out again", "[state_dict]") {
  StateDict inner;
  inner.set("step", 5);
  inner.set("deep/er", 6);
  StateDict state;
  state.set("loader", inner);
  state.set("loader_2", 7);
  CHECK(state.contains("loader/step"));
  CHECK_FALSE(state.contains("loader"));
  CHECK(state.contains_nested("loader"));
  CHECK(state.contains_nested("loader/deep"));
  CHECK_FALSE(state.contains_nested("loader/step"));
  CHECK_FALSE(state.contains_nested("load"));
  const StateDict back = state.nested("loader");
  REQUIRE(back.entries().size() == 2);
  CHECK(back.get<int64_t>("step") == 5);
  CHECK(back.get<int64_t>("deep/er") == 6);
  CHECK(state.nested("missing").empty());
  CHECK(state.top_level_names() == std::vector<std::string>{"loader", "loader_2"});
}

TEST_CASE("StateDict errors name the entry, what is there and its type", "[state_dict]") {
  StateDict state;
  CHECK_THROWS_WITH(state.get<bool>("step"), Contains("Available: nothing"));
  state.set("epoch", 1);
  state.set("name", "x");
  CHECK_THROWS_AS(state.get<int64_t>("step"), CheckpointError);
  CHECK_THROWS_WITH(state.get<int64_t>("step"), Contains("\"step\"") && Contains("epoch, name"));
  CHECK_THROWS_AS(state.get<double>("epoch"), CheckpointError);
  CHECK_THROWS_WITH(state.get<double>("epoch"), Contains("\"epoch\" holds a int64"));
}
