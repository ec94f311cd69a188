#include <lightning/optim/optimizer_state.h>

#include <cstring>

#include <torch/torch.h>
#include <catch2/catch.hpp>

#include <lightning/optim/adadelta.h>
#include <lightning/optim/optimizers.h>
#include <lightning/util/error.h>

namespace lo = lightning::optim;
namespace to = torch::optim;
using Catch::Matchers::Contains;
using lightning::CheckpointError;
using lightning::StateDict;

namespace {

struct Net : torch::nn::Module {
  Net() {
    torch::manual_seed(7);
    first = register_module("first", torch::nn::Linear(3, 5));
    second = register_module("second", torch::nn::Linear(5, 2));
    tied = register_parameter("tied", first->weight);
    unused = register_parameter("unused", torch::ones({2}));
    images = register_parameter(
        "images", torch::randn({2, 3, 2, 2}).contiguous(at::MemoryFormat::ChannelsLast));
  }
  at::Tensor loss(int step) {
    const at::Tensor x = torch::arange(12, torch::kFloat).view({4, 3}).mul(0.1).sin() + 0.1 * step;
    return second(torch::tanh(first(x))).square().mean() + (images * images.sin()).sum();
  }
  torch::nn::Linear first{nullptr}, second{nullptr};
  at::Tensor tied, unused, images;
};

using Factory = std::function<std::unique_ptr<to::Optimizer>(Net&)>;

struct Case {
  std::string name;
  std::string type;
  Factory make;
};

template <typename Optimizer, typename Options>
Factory factory(Options options) {
  return [options](Net& net) -> std::unique_ptr<to::Optimizer> {
    std::vector<to::OptimizerParamGroup> groups;
    groups.emplace_back(net.first->parameters(), std::make_unique<Options>(options));
    Options other = options;
    other.lr(options.lr() * 0.5);
    std::vector<at::Tensor> rest = net.second->parameters();
    rest.push_back(net.unused);
    rest.push_back(net.images);
    groups.emplace_back(rest, std::make_unique<Options>(other));
    return std::make_unique<Optimizer>(groups, options);
  };
}

std::vector<Case> all_cases() {
  const auto adam = to::AdamOptions(0.01).amsgrad(true).weight_decay(0.1);
  const auto adamw = to::AdamWOptions(0.01).betas({0.8, 0.99});
  const auto sgd = to::SGDOptions(0.05).momentum(0.9).dampening(0.2);
  return {
      {"ours", "Adadelta", factory<lo::Adadelta>(lo::AdadeltaOptions(0.5).rho(0.8))},
      {"ours", "Adam", factory<lo::Adam>(adam)},
      {"ours", "AdamW", factory<lo::AdamW>(adamw)},
      {"ours", "SGD", factory<lo::SGD>(sgd)},
      {"ours, plain", "SGD", factory<lo::SGD>(to::SGDOptions(0.05))},
      {"LibTorch", "Adam", factory<to::Adam>(adam)},
      {"LibTorch", "AdamW", factory<to::AdamW>(adamw)},
      {"LibTorch", "SGD", factory<to::SGD>(sgd)},
      {"LibTorch", "RMSprop",
       factory<to::RMSprop>(to::RMSpropOptions(0.01).centered(true).momentum(0.5))},
      {"LibTorch", "Adagrad", factory<to::Adagrad>(to::AdagradOptions(0.05).lr_decay(0.01))},
  };
}

void train(Net& net, to::Optimizer& optimizer, int first_step, int end_step) {
  for (int step = first_step; step < end_step; ++step) {
    optimizer.zero_grad();
    net.loss(step).backward();
    optimizer.param_groups()[0].options().set_lr(0.01 / (1 + step));
    optimizer.step();
  }
}

bool bitwise_equal(const Net& a, const Net& b) {
  const auto x = a.named_parameters();
  for (const auto& item : b.named_parameters()) {
    const at::Tensor mine = x[item.key()].detach().contiguous();
    const at::Tensor other = item.value().detach().contiguous();
    if (std::memcmp(mine.data_ptr(), other.data_ptr(), mine.nbytes()) != 0) return false;
  }
  return true;
}

void copy_weights(const Net& from, Net& to) {
  torch::NoGradGuard no_grad;
  const auto source = from.named_parameters();
  for (auto& item : to.named_parameters()) item.value().copy_(source[item.key()]);
}

/// What a checkpoint does: copies of everything, in plain memory order.
StateDict copy_of(const StateDict& state) {
  StateDict copy;
  for (const auto& [name, value] : state.entries()) {
    if (const auto* tensor = std::get_if<at::Tensor>(&value)) {
      copy.set(name, StateDict::Value(tensor->detach().clone(at::MemoryFormat::Contiguous)));
    } else {
      copy.set(name, value);
    }
  }
  return copy;
}

struct NotSupported : to::Adam {
  using to::Adam::Adam;
};

struct OwnOptimizer : to::SGD, lo::StatefulOptimizer {
  using to::SGD::SGD;
  StateDict state_dict(const lo::ParameterNames&) const override {
    StateDict state;
    state.set("answer", answer);
    return state;
  }
  void load_state_dict(const StateDict& state, const lo::ParameterNames&) override {
    answer = static_cast<int>(state.get<int64_t>("answer"));
  }
  int answer = 42;
};

}  // namespace

TEST_CASE("every supported optimizer resumes bitwise", "[optim]") {
  for (const Case& c : all_cases()) {
    CAPTURE(c.name, c.type);
    Net straight;
    auto straight_optimizer = c.make(straight);
    train(straight, *straight_optimizer, 0, 4);
    const StateDict state =
        copy_of(lo::optimizer_state(*straight_optimizer, lo::ParameterNames(straight)));
    Net resumed;
    copy_weights(straight, resumed);
    train(straight, *straight_optimizer, 4, 9);

    auto resumed_optimizer = c.make(resumed);
    lo::require_supported(*resumed_optimizer);
    CHECK(lo::optimizer_name(*resumed_optimizer) == c.type);
    lo::load_optimizer_state(*resumed_optimizer, state, lo::ParameterNames(resumed));
    CHECK(resumed_optimizer->param_groups()[0].options().get_lr() == 0.01 / 4);
    train(resumed, *resumed_optimizer, 4, 9);
    CHECK(bitwise_equal(straight, resumed));

    // Loading is what makes it so: without it the weights differ (plain SGD has no state).
    if (c.name == "ours, plain") continue;
    Net forgetful;
    auto fresh_optimizer = c.make(forgetful);
    train(forgetful, *fresh_optimizer, 0, 4);
    train(forgetful, *c.make(forgetful), 4, 9);
    CHECK_FALSE(bitwise_equal(straight, forgetful));
  }
}

TEST_CASE("loading into an optimizer that has stepped replaces all of its state", "[optim]") {
  for (const Case& c : all_cases()) {
    CAPTURE(c.name, c.type);
    Net net;
    auto optimizer = c.make(net);
    const StateDict fresh = copy_of(lo::optimizer_state(*optimizer, lo::ParameterNames(net)));
    Net reference;
    copy_weights(net, reference);
    train(net, *optimizer, 20, 25);
    copy_weights(reference, net);
    lo::load_optimizer_state(*optimizer, fresh, lo::ParameterNames(net));
    train(net, *optimizer, 0, 4);
    train(reference, *c.make(reference), 0, 4);
    CHECK(bitwise_equal(net, reference));
  }
}

TEST_CASE("ours and LibTorch's optimizers read each other's state", "[optim]") {
  const auto options = to::AdamWOptions(0.01);
  Net net;
  auto stock = factory<to::AdamW>(options)(net);
  train(net, *stock, 0, 3);
  const StateDict state = copy_of(lo::optimizer_state(*stock, lo::ParameterNames(net)));
  Net other;
  copy_weights(net, other);
  auto fused = factory<lo::AdamW>(options)(other);
  lo::load_optimizer_state(*fused, state, lo::ParameterNames(other));
  const StateDict again = copy_of(lo::optimizer_state(*fused, lo::ParameterNames(other)));
  Net third;
  copy_weights(net, third);
  auto back = factory<to::AdamW>(options)(third);
  lo::load_optimizer_state(*back, again, lo::ParameterNames(third));
  train(net, *stock, 3, 6);
  train(other, *fused, 3, 6);
  train(third, *back, 3, 6);
  CHECK(bitwise_equal(net, third));
  CHECK(torch::allclose(net.first->weight, other.first->weight, 1e-5, 1e-6));
}

TEST_CASE("the state is keyed by name, tied and unused parameters included", "[optim]") {
  Net net;
  auto optimizer = factory<lo::AdamW>(to::AdamWOptions(0.01))(net);
  train(net, *optimizer, 0, 2);
  const StateDict state = lo::optimizer_state(*optimizer, lo::ParameterNames(net));
  CHECK(state.get<std::string>("type") == "AdamW");
  CHECK(state.get<std::vector<std::string>>("groups/0/parameters") ==
        std::vector<std::string>{"tied", "first.bias"});
  CHECK(state.get<double>("groups/1/lr") == 0.005);
  CHECK(state.contains("state/tied/exp_avg"));
  CHECK_FALSE(state.contains_nested("state/first.weight"));
  CHECK_FALSE(state.contains_nested("state/unused"));
  CHECK(state.get<at::Tensor>("state/first.bias/step").item<float>() == 2.0F);
}

TEST_CASE("a parameter outside the module is saved by its place", "[optim]") {
  Net net;
  at::Tensor extra = torch::ones({2}, torch::requires_grad());
  const auto make = [&] { return lo::AdamW({net.unused, extra}, to::AdamWOptions(0.1)); };
  auto optimizer = make();
  extra.mutable_grad() = torch::ones({2});
  optimizer.step();
  const StateDict state = lo::optimizer_state(optimizer, lo::ParameterNames(net));
  auto other = make();
  lo::load_optimizer_state(other, state, lo::ParameterNames(net));
  CHECK(other.state().count(extra.unsafeGetTensorImpl()) == 1);
}

TEST_CASE("a state that doesn't fit is refused by name and changes nothing", "[optim]") {
  Net net;
  const auto make = factory<lo::AdamW>(to::AdamWOptions(0.01));
  auto optimizer = make(net);
  train(net, *optimizer, 0, 2);
  const lo::ParameterNames names(net);
  const StateDict good = copy_of(lo::optimizer_state(*optimizer, names));
  StateDict bad = good;
  std::string expected;
  SECTION("another type") {
    bad.set("type", "RMSprop");
    expected = "RMSprop";
  }
  SECTION("another number of groups") {
    bad.set("groups/2/lr", 0.1);
    expected = "3 parameter groups";
  }
  SECTION("a missing parameter") {
    bad.set("groups/0/parameters", std::vector<std::string>{"tied"});
    expected = "\"first.bias\"";
  }
  SECTION("an extra parameter") {
    bad.set("groups/0/parameters", std::vector<std::string>{"tied", "first.bias", "third.bias"});
    expected = "\"third.bias\"";
  }
  SECTION("another shape") {
    bad.set("state/second.bias/exp_avg", torch::zeros({7}));
    expected = "state/second.bias/exp_avg";
  }
  SECTION("a missing option") {
    StateDict without;
    for (const auto& [name, value] : good.entries()) {
      if (name != "groups/1/eps") without.set(name, value);
    }
    bad = without;
    expected = "eps";
  }
  CHECK_THROWS_AS(lo::load_optimizer_state(*optimizer, bad, names), CheckpointError);
  CHECK_THROWS_WITH(lo::load_optimizer_state(*optimizer, bad, names), Contains(expected));
  const StateDict after = lo::optimizer_state(*optimizer, names);
  REQUIRE(after.entries().size() == good.entries().size());
  CHECK(torch::equal(after.get<at::Tensor>("state/second.bias/exp_avg"),
                     good.get<at::Tensor>("state/second.bias/exp_avg")));
  CHECK(after.get<double>("groups/0/lr") == good.get<double>("groups/0/lr"));
}

TEST_CASE("unknown optimizers are refused unless they save themselves", "[optim]") {
  Net net;
  const lo::ParameterNames names(net);
  to::LBFGS lbfgs(net.parameters());
  CHECK_THROWS_AS(lo::require_supported(lbfgs), lightning::ConfigError);
  CHECK_THROWS_WITH(lo::require_supported(lbfgs),
                    Contains("LBFGS") && Contains("HINT") && Contains("StatefulOptimizer"));
  // A subclass may have state that is unknown here.
  NotSupported subclass(net.second->parameters());
  CHECK_THROWS_AS(lo::require_supported(subclass), lightning::ConfigError);
  CHECK_THROWS_AS(lo::optimizer_state(subclass, names), lightning::ConfigError);

  OwnOptimizer own(net.second->parameters(), to::SGDOptions(0.1));
  CHECK_NOTHROW(lo::require_supported(own));
  own.answer = 7;
  const StateDict state = lo::optimizer_state(own, names);
  own.answer = 0;
  lo::load_optimizer_state(own, state, names);
  CHECK(own.answer == 7);
}
