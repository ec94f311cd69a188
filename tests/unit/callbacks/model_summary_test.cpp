#include <catch2/catch.hpp>

#include <lightning/callbacks/model_summary.h>
#include <torch/torch.h>

namespace {

/// Two layers, one of them frozen, and a third that shares the first one's weight.
struct Tied : torch::nn::Module {
  Tied() {
    first = register_module("first", torch::nn::Linear(10, 20));
    second = register_module("second", torch::nn::Linear(20, 30));
    for (auto& parameter : second->parameters()) parameter.set_requires_grad(false);
    register_parameter("tied", first->weight);
  }
  torch::nn::Linear first{nullptr}, second{nullptr};
};

}  // namespace

TEST_CASE("The model summary counts tied parameters once and tells frozen ones", "[callbacks]") {
  const Tied module;
  const std::string text = lightning::summarize(module, 1);
  INFO(text);
  CHECK_THAT(text, Catch::Contains("first") && Catch::Contains("Linear") && Catch::Contains("220"));
  CHECK_THAT(text, Catch::Contains("220 trainable, 630 frozen, 850 in all"));
  CHECK_THAT(text, Catch::Contains("0.003 MB"));
  CHECK_THAT(lightning::summarize(module, 0), !Catch::Contains("Linear"));
}
