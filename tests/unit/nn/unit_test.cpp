// Units against the plain layers that they are made of.
#include <lightning/nn/unit.h>

#include <torch/torch.h>
#include <catch2/catch.hpp>

#include <lightning/util/error.h>

namespace {

using lightning::ConfigError;
using lightning::recompute_activations;
using lightning::register_unit;
using lightning::Unit;

struct BlockImpl : torch::nn::Cloneable<BlockImpl> {
  BlockImpl() { BlockImpl::reset(); }
  void reset() override {
    linear = register_module("linear", torch::nn::Linear(4, 4));
    norm = register_module("norm", torch::nn::BatchNorm1d(4));
    dropout = register_module("dropout", torch::nn::Dropout(0.5));
  }
  std::tuple<at::Tensor, at::Tensor> forward(const at::Tensor& x, const at::Tensor& shift = {}) {
    at::Tensor y = dropout(norm(linear(x)));
    if (shift.defined()) y = y + shift;
    return {y, y.argmax(1)};
  }
  torch::nn::Linear linear{nullptr};
  torch::nn::BatchNorm1d norm{nullptr};
  torch::nn::Dropout dropout{nullptr};
};
TORCH_MODULE(Block);

struct NetImpl : torch::nn::Cloneable<NetImpl> {
  NetImpl() { NetImpl::reset(); }
  void reset() override {
    first = register_unit(*this, "first", Block());
    second = register_unit(*this, "second", Block());
  }
  at::Tensor forward(const at::Tensor& x) {
    const at::Tensor y = std::get<0>(first(x, at::Tensor()));
    return std::get<0>(second(std::get<0>(second(y)), y)).square().sum();
  }
  Unit<Block> first, second;
};

/// The loss, then the gradients and the buffers by name.
std::vector<at::Tensor> step(NetImpl& net) {
  torch::manual_seed(3);
  const at::Tensor loss = net.forward(torch::randn({6, 4}));
  loss.backward();
  std::vector<at::Tensor> all = {loss.detach(), torch::rand({1})};
  for (const at::Tensor& parameter : net.parameters()) all.push_back(parameter.grad());
  for (const at::Tensor& buffer : net.buffers()) all.push_back(buffer);
  return all;
}

}  // namespace

TEST_CASE("recomputation changes no bit of losses, gradients, buffers and draws", "[nn]") {
  const auto plain = std::make_shared<NetImpl>();
  const auto recomputing = std::dynamic_pointer_cast<NetImpl>(plain->clone());
  CHECK(recompute_activations(*recomputing, 1) == 2);
  CHECK(recomputing->second.ptr()->recomputes());
  const std::vector<at::Tensor> expected = step(*plain);
  const std::vector<at::Tensor> actual = step(*recomputing);
  REQUIRE(actual.size() == expected.size());
  for (size_t i = 0; i < actual.size(); ++i) CHECK(actual[i].equal(expected[i]));
}

TEST_CASE("units add no level to names, and every n-th of them recomputes", "[nn]") {
  NetImpl net;
  CHECK(net.named_parameters().contains("first.linear.weight"));
  CHECK(recompute_activations(net, 2) == 1);
  CHECK(net.first.ptr()->recomputes());
  CHECK_FALSE(net.second.ptr()->recomputes());
  CHECK(recompute_activations(net, 0) == 0);
  CHECK_FALSE(net.first.ptr()->is_active());
}

TEST_CASE("what a recomputing unit can't do is an error in words", "[nn]") {
  NetImpl net;
  recompute_activations(net, 1);
  const at::Tensor x = torch::randn({6, 4});
  const at::Tensor twice = std::get<0>(net.first(x)).sum();
  twice.backward({}, /*retain_graph=*/true);
  CHECK_THROWS_WITH(twice.backward(), Catch::Contains("backward ran twice"));
  const at::Tensor changed = std::get<0>(net.first(x)).sum();
  x.add_(1.0);
  CHECK_THROWS_WITH(changed.backward(), Catch::Contains("changed in place after its forward"));
}

TEST_CASE("a unit refuses a tensor with a gradient that it doesn't own", "[nn]") {
  struct OuterImpl : torch::nn::Module {
    at::Tensor forward(const at::Tensor& x) { return x * foreign; }
    at::Tensor foreign = torch::ones({2}).set_requires_grad(true);
  };
  struct Outer : torch::nn::ModuleHolder<OuterImpl> {
    using torch::nn::ModuleHolder<OuterImpl>::ModuleHolder;
  };
  torch::nn::Module owner;
  const Unit<Outer> unit = register_unit(owner, "unit", Outer(std::make_shared<OuterImpl>()));
  recompute_activations(owner, 1);
  const at::Tensor x = torch::ones({2}).set_requires_grad(true);
  CHECK_THROWS_WITH(unit(x).sum().backward(), Catch::Contains("neither a parameter of it nor"));
}

TEST_CASE("frozen and wholly frozen units give their inputs' gradients alone", "[nn]") {
  NetImpl net;
  recompute_activations(net, 1);
  for (at::Tensor parameter : net.first->parameters()) parameter.set_requires_grad(false);
  net.second->linear->weight.set_requires_grad(false);
  const at::Tensor x = torch::randn({6, 4}).set_requires_grad(true);
  net.forward(x).backward();
  CHECK(x.grad().defined());
  CHECK_FALSE(net.first->linear->weight.grad().defined());
  CHECK_FALSE(net.second->linear->weight.grad().defined());
  CHECK(net.second->linear->bias.grad().defined());
}
