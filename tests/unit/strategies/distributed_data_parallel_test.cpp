// Ranks are forked: every test case with several of them leaves the threads to its children.
#include <lightning/strategies/distributed_data_parallel.h>

#include <torch/torch.h>
#include <catch2/catch.hpp>

#include <lightning/nn/unit.h>
#include <lightning/util/error.h>

#include "support/forked_ranks.h"

using lightning::DistributedDataParallel;
using lightning::World;
using lightning_tests::expect;
using lightning_tests::kWrong;
using lightning_tests::run_world;

namespace {

/// Its loss is the mean of weight * input; it counts its forwards.
struct ScaleImpl : torch::nn::Module {
  explicit ScaleImpl(double start) {
    weight = register_parameter("weight", torch::full({2}, start, torch::kFloat64));
    forwards = register_buffer("forwards", torch::zeros({1}));
  }
  torch::Tensor loss(double input) {
    forwards += 1;
    return (weight * torch::tensor({input, 10.0 * input}, torch::kFloat64)).sum();
  }
  torch::Tensor weight;
  torch::Tensor forwards;
};
TORCH_MODULE(Scale);

bool equals(const torch::Tensor& tensor, const std::vector<double>& expected) {
  return tensor.defined() && torch::allclose(tensor, torch::tensor(expected, torch::kFloat64));
}

/// Two units, the first called twice.
struct UnitsImpl : torch::nn::Module {
  UnitsImpl()
      : first(lightning::register_unit(*this, "first", torch::nn::Linear(4, 4))),
        second(lightning::register_unit(*this, "second", torch::nn::Linear(4, 1))) {}
  torch::Tensor loss(const torch::Tensor& x) {
    return second(first(first(x).tanh()).tanh()).square().sum();
  }
  lightning::Unit<torch::nn::Linear> first, second;
};

double one_more_than_rank(World& world) { return static_cast<double>(world.rank() + 1); }

}  // namespace

TEST_CASE("a plain module trains with the mean of all ranks' gradients", "[process]") {
  const std::vector<int> codes = run_world(3, [](World& world) {
    Scale model(/*start=*/5.0 + one_more_than_rank(world));
    DistributedDataParallel ddp(model.ptr(), world);
    expect(equals(model->weight.detach(), {6.0, 6.0}), "rank 0's weights");
    ddp.backward(model->loss(one_more_than_rank(world)));
    expect(equals(model->weight.grad(), {2.0, 20.0}), "(1 + 2 + 3) / 3");
    model->zero_grad();
    ddp.backward(model->loss(10.0 * one_more_than_rank(world)));
    expect(equals(model->weight.grad(), {20.0, 200.0}), "the same again");
    return 0;
  });
  CHECK(codes == std::vector<int>{0, 0, 0});
}

TEST_CASE("recomputation changes no bit of the gradients of DDP", "[process]") {
  const std::vector<int> codes = run_world(2, [](World& world) {
    const std::vector<lightning::DDPOptions> variants = {
        {}, {.find_unused_parameters = true}, {.static_graph = true}};
    for (const lightning::DDPOptions& options : variants) {
      std::vector<std::vector<torch::Tensor>> gradients;
      for (const int64_t every_nth : {int64_t{0}, int64_t{1}}) {
        torch::manual_seed(1);
        const auto model = std::make_shared<UnitsImpl>();
        lightning::recompute_activations(*model, every_nth);
        DistributedDataParallel ddp(model, world, options);
        for (int step = 0; step < 2; ++step) {
          model->zero_grad();
          ddp.backward(model->loss(torch::ones({2, 4}) * one_more_than_rank(world)));
        }
        gradients.emplace_back();
        for (const auto& p : model->parameters()) gradients.back().push_back(p.grad().clone());
      }
      for (size_t i = 0; i < gradients[0].size(); ++i) {
        expect(gradients[0][i].equal(gradients[1][i]), "the same bits");
      }
    }
    return 0;
  });
  CHECK(codes == std::vector<int>{0, 0});
}

TEST_CASE("accumulate() leaves the sending to the next backward()", "[process]") {
  const std::vector<int> codes = run_world(2, [](World& world) {
    Scale model(1.0);
    DistributedDataParallel ddp(model.ptr(), world);
    const int64_t before = world.group().counters().messages;
    ddp.accumulate(model->loss(one_more_than_rank(world)));
    expect(
        equals(model->weight.grad(), {one_more_than_rank(world), 10 * one_more_than_rank(world)}),
        "this rank's own gradient");
    expect(world.group().counters().messages == before, "nothing sent");
    ddp.backward(model->loss(2.0 * one_more_than_rank(world)));
    expect(equals(model->weight.grad(), {4.5, 45.0}), "the mean of (1 + 2) and (2 + 4)");
    return 0;
  });
  CHECK(codes == std::vector<int>{0, 0});
}

TEST_CASE("a rank without data takes part in backward()", "[process]") {
  const std::vector<int> codes = run_world(2, [](World& world) {
    Scale model(1.0);
    DistributedDataParallel ddp(model.ptr(), world);
    ddp.backward(world.rank() == 0 ? model->loss(4.0) : torch::Tensor());
    expect(equals(model->weight.grad(), {2.0, 20.0}), "(4 + 0) / 2");
    return 0;
  });
  CHECK(codes == std::vector<int>{0, 0});
}

TEST_CASE("buffers are rank 0's after backward()", "[process]") {
  const std::vector<int> codes = run_world(2, [](World& world) {
    Scale model(1.0);
    DistributedDataParallel ddp(model.ptr(), world);
    if (world.rank() == 1) model->loss(1.0);
    ddp.backward(model->loss(1.0));
    expect(model->forwards.item<double>() == 1.0, "one forward, as on rank 0");
    return 0;
  });
  CHECK(codes == std::vector<int>{0, 0});
}

TEST_CASE("modules that differ between ranks are refused by name", "[process]") {
  const std::vector<int> codes = run_world(2, [](World& world) {
    torch::nn::Linear model(2, world.rank() == 0 ? 3 : 4);
    try {
      DistributedDataParallel ddp(model.ptr(), world);
    } catch (const lightning::ConfigError& error) {
      expect(std::string(error.what()).find("parameter weight ") != std::string::npos,
             error.what());
      return 0;
    }
    return kWrong;
  });
  CHECK(codes == std::vector<int>{0, 0});
}

TEST_CASE("layers may be frozen and thawed between steps", "[process]") {
  const std::vector<int> codes = run_world(2, [](World& world) {
    Scale first(1.0);
    Scale second(1.0);
    torch::nn::ModuleList model(first, second);
    DistributedDataParallel ddp(model.ptr(), world);
    for (const bool trains_first : {true, false, true}) {
      first->weight.set_requires_grad(trains_first);
      first->weight.mutable_grad().reset();
      second->weight.mutable_grad().reset();
      const double input = one_more_than_rank(world);
      ddp.backward(first->loss(input) + second->loss(input));
      expect(equals(second->weight.grad(), {1.5, 15.0}), "the mean of 1 and 2");
      expect(equals(first->weight.grad(), {1.5, 15.0}) == trains_first,
             "the first where it trains");
    }
    return 0;
  });
  CHECK(codes == std::vector<int>{0, 0});
}

TEST_CASE("a parameter without a part in the loss is named", "[process]") {
  const std::vector<int> codes = run_world(2, [](World& world) {
    Scale model(1.0);
    model->register_parameter("spare", torch::ones({1}));
    DistributedDataParallel ddp(model.ptr(), world);
    try {
      ddp.backward(model->loss(1.0));
    } catch (const lightning::ConfigError& error) {
      expect(std::string(error.what()).find("(spare)") != std::string::npos, error.what());
      return 0;
    }
    return kWrong;
  });
  CHECK(codes == std::vector<int>{0, 0});
}

TEST_CASE("in a world of one backward() is torch's own", "[process]") {
  const std::vector<int> codes = run_world(1, [](World& world) {
    Scale model(1.0);
    DistributedDataParallel ddp(model.ptr(), world);
    ddp.accumulate(model->loss(1.0));
    ddp.backward(model->loss(2.0));
    expect(equals(model->weight.grad(), {3.0, 30.0}), "1 + 2");
    return 0;
  });
  CHECK(codes == std::vector<int>{0});
}

TEST_CASE("a null module is refused", "[process]") {
  CHECK(run_world(1, [](World& world) {
          try {
            DistributedDataParallel ddp(nullptr, world);
          } catch (const lightning::ConfigError&) {
            return 0;
          }
          return kWrong;
        }) == std::vector<int>{0});
}
