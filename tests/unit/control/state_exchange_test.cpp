#include <lightning/control/detail/state_exchange.h>

#include <torch/torch.h>
#include <catch2/catch.hpp>

using lightning::DistributedError;
using lightning::StateDict;

TEST_CASE("a state survives the way between ranks", "[distributed]") {
  StateDict state;
  state.set("flag", true);
  state.set("count", int64_t{-7});
  state.set("share", 0.25);
  state.set("name", "caf\xc3\xa9");
  state.set("numbers", std::vector<int64_t>{1, 2, 3});
  state.set("decimals", std::vector<double>{});
  state.set("names", std::vector<std::string>{"a", ""});
  state.set("rng/cpu", torch::arange(300, torch::kByte));
  state.set("scalar", torch::tensor(2.5, torch::kBFloat16));
  state.set("empty", torch::empty({0, 3}));
  const StateDict back = lightning::state_from_bytes(lightning::to_bytes(state));

  REQUIRE(back.entries().size() == state.entries().size());
  CHECK(back.get<bool>("flag"));
  CHECK(back.get<int64_t>("count") == -7);
  CHECK(back.get<double>("share") == 0.25);
  CHECK(back.get<std::string>("name") == "caf\xc3\xa9");
  CHECK(back.get<std::vector<int64_t>>("numbers") == std::vector<int64_t>{1, 2, 3});
  CHECK(back.get<std::vector<double>>("decimals").empty());
  CHECK(back.get<std::vector<std::string>>("names") == std::vector<std::string>{"a", ""});
  CHECK(torch::equal(back.get<at::Tensor>("rng/cpu"), torch::arange(300, torch::kByte)));
  CHECK(torch::equal(back.get<at::Tensor>("scalar"), torch::tensor(2.5, torch::kBFloat16)));
  CHECK(back.get<at::Tensor>("empty").sizes() == at::IntArrayRef{0, 3});
}

TEST_CASE("bytes that were cut short are an error", "[distributed]") {
  StateDict state;
  state.set("rng", torch::ones({4}));
  const std::string bytes = lightning::to_bytes(state);
  CHECK_THROWS_AS(lightning::state_from_bytes(std::string_view(bytes).substr(0, bytes.size() - 1)),
                  DistributedError);
}
