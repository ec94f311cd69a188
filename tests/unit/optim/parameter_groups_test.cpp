#include <lightning/optim/parameter_groups.h>

#include <torch/torch.h>
#include <catch2/catch.hpp>

#include <lightning/optim/optimizers.h>
#include <lightning/util/error.h>
#include <lightning/util/log.h>

namespace lo = lightning::optim;
using Catch::Matchers::Contains;
using lightning::ConfigError;

namespace {

struct RMSNormImpl : torch::nn::Module {
  RMSNormImpl() { scale = register_parameter("scale", torch::ones({4})); }
  at::Tensor scale;
};

struct NormalisedLinearImpl : torch::nn::Module {
  NormalisedLinearImpl() { weight = register_parameter("weight", torch::ones({4, 4})); }
  at::Tensor weight;
};

struct Net : torch::nn::Module {
  Net() {
    first = register_module("first", torch::nn::Linear(4, 4));
    norm = register_module("norm", torch::nn::LayerNorm(torch::nn::LayerNormOptions({4})));
    batch_norm = register_module("batch_norm", torch::nn::BatchNorm1d(4));
    rms = register_module("rms", std::make_shared<RMSNormImpl>());
    normalised = register_module("normalised", std::make_shared<NormalisedLinearImpl>());
    prelu = register_module("prelu", torch::nn::PReLU());
    gate_bias = register_parameter("gate_bias", torch::zeros({4}));
    // A tied weight: registered twice, the same tensor.
    tied = register_parameter("tied", first->weight);
    frozen = register_parameter("frozen", torch::ones({4}), /*requires_grad=*/false);
  }
  torch::nn::Linear first{nullptr};
  torch::nn::LayerNorm norm{nullptr};
  torch::nn::BatchNorm1d batch_norm{nullptr};
  std::shared_ptr<RMSNormImpl> rms;
  std::shared_ptr<NormalisedLinearImpl> normalised;
  torch::nn::PReLU prelu{nullptr};
  at::Tensor gate_bias, tied, frozen;
};

std::vector<std::string> names_of(const std::vector<at::Tensor>& parameters,
                                  const lo::ParameterNames& names) {
  std::vector<std::string> result;
  for (const at::Tensor& parameter : parameters) {
    const std::string* name = names.find(parameter);
    result.push_back(name != nullptr ? *name : "?");
  }
  return result;
}

}  // namespace

TEST_CASE("ParameterNames gives a tied parameter its first name", "[optim]") {
  Net net;
  const lo::ParameterNames names(net);
  CHECK(*names.find(net.norm->bias) == "norm.bias");
  // The module's own parameters come before those of its children.
  CHECK(*names.find(net.first->weight) == "tied");
  CHECK(names.find(torch::ones({1})) == nullptr);
}

TEST_CASE("weight decay leaves out biases, norms and frozen parameters", "[optim]") {
  Net net;
  const lo::ParameterNames names(net);
  const lo::ParameterSplit split = lo::split_for_weight_decay(net);
  CHECK(names_of(split.decay, names) ==
        std::vector<std::string>{"tied", "normalised.weight", "prelu.weight"});
  CHECK(names_of(split.no_decay, names) ==
        std::vector<std::string>{"gate_bias", "first.bias", "norm.weight", "norm.bias",
                                 "batch_norm.weight", "batch_norm.bias", "rms.scale"});
}

TEST_CASE("weight_decay_groups keeps the options and sets the decay", "[optim]") {
  Net net;
  const auto options = torch::optim::AdamWOptions(5e-5).eps(1e-6).weight_decay(0.3);
  const auto groups = lo::weight_decay_groups(net, options);
  REQUIRE(groups.size() == 2);
  const auto decay = [](const torch::optim::OptimizerParamGroup& group) {
    return static_cast<const torch::optim::AdamWOptions&>(group.options());
  };
  CHECK(decay(groups[0]).weight_decay() == 0.3);
  CHECK(decay(groups[1]).weight_decay() == 0.0);
  CHECK(decay(groups[1]).lr() == 5e-5);
  CHECK(decay(groups[1]).eps() == 1e-6);

  torch::nn::Linear only_weight(torch::nn::LinearOptions(2, 2).bias(false));
  CHECK(lo::weight_decay_groups(*only_weight, options).size() == 1);
}

TEST_CASE("validate_parameters keeps tied parameters once for any optimizer", "[optim]") {
  Net net;
  torch::optim::SGD optimizer(net.parameters(), torch::optim::SGDOptions(1.0));
  const size_t registered = net.parameters().size();
  lo::validate_parameters(optimizer, net);
  REQUIRE(optimizer.param_groups()[0].params().size() == registered - 1);
  const at::Tensor before = net.first->weight.detach().clone();
  net.first->weight.mutable_grad() = torch::ones({4, 4});
  optimizer.step();
  CHECK(torch::equal(net.first->weight.detach(), before - 1.0));
}

TEST_CASE("validate_parameters refuses optimizers that can't train", "[optim]") {
  Net net;
  const torch::optim::SGDOptions options(0.1);
  SECTION("no parameters") {
    torch::optim::SGD optimizer(std::vector<at::Tensor>{}, options);
    CHECK_THROWS_WITH(lo::validate_parameters(optimizer, net),
                      Contains("no parameters") && Contains("HINT"));
  }
  SECTION("only frozen parameters") {
    torch::optim::SGD optimizer({net.frozen}, options);
    CHECK_THROWS_WITH(lo::validate_parameters(optimizer, net), Contains("frozen"));
  }
  SECTION("one parameter in two groups") {
    std::vector<torch::optim::OptimizerParamGroup> groups;
    groups.emplace_back(std::vector<at::Tensor>{net.tied});
    groups.emplace_back(std::vector<at::Tensor>{net.gate_bias, net.first->weight});
    torch::optim::SGD optimizer(groups, options);
    CHECK_THROWS_WITH(lo::validate_parameters(optimizer, net),
                      Contains("\"tied\"") && Contains("groups 0 and 1"));
  }
}

TEST_CASE("validate_parameters warns about parameters that aren't the module's",
          "[optim][process]") {
  Net net;
  std::string lines;
  auto previous =
      lightning::set_log_sink([&](std::string_view line) { lines += std::string(line); });
  torch::optim::SGD optimizer({net.gate_bias, torch::ones({1}, torch::requires_grad())},
                              torch::optim::SGDOptions(0.1));
  lo::validate_parameters(optimizer, net);
  lightning::set_log_sink(std::move(previous));
  CHECK_THAT(lines, Contains("aren't parameters of the module"));
}
