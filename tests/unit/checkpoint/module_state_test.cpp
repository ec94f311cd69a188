#include <lightning/checkpoint/checkpoint.h>

#include <catch2/catch.hpp>

#include <memory>
#include <string>

#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/modules/linear.h>

#include <lightning/util/error.h>

#include "checkpoint_support.h"
#include "support/temporary_folder.h"

using namespace lightning_tests;
using Catch::Matchers::Contains;
using lightning::Checkpoint;
using lightning::CheckpointError;
using lightning::load_model_state;
using lightning::model_state;
namespace nn = torch::nn;

namespace {

/// Input and output embedding are one parameter; a frozen layer, a norm with buffers and a
/// parameter that was registered without a tensor.
struct TiedModelImpl : nn::Module {
  TiedModelImpl() {
    embedding = register_module("embedding", nn::Embedding(5, 3));
    norm = register_module("norm", nn::BatchNorm1d(3));
    frozen = register_module("frozen", nn::Linear(nn::LinearOptions(3, 3).bias(false)));
    frozen->weight.requires_grad_(false);
    head = register_parameter("head", embedding->weight);
  }
  nn::Embedding embedding{nullptr};
  nn::BatchNorm1d norm{nullptr};
  nn::Linear frozen{nullptr};
  at::Tensor head;
};
TORCH_MODULE(TiedModel);

}  // namespace

TEST_CASE("model_state has parameters and buffers under all their names", "[checkpoint]") {
  TiedModel model;
  std::vector<std::string> names;
  for (const auto& [name, tensor] : model_state(*model)) names.push_back(name);
  std::sort(names.begin(), names.end());
  CHECK(names == std::vector<std::string>{"embedding.weight", "frozen.weight", "head", "norm.bias",
                                          "norm.num_batches_tracked", "norm.running_mean",
                                          "norm.running_var", "norm.weight"});
}

TEST_CASE("A model comes back from a checkpoint with its ties", "[checkpoint]") {
  const TemporaryFolder folder;
  torch::manual_seed(1);
  TiedModel model;
  model->norm->running_mean.fill_(2);
  model->norm->num_batches_tracked.fill_(7);
  Checkpoint checkpoint;
  checkpoint.model = model_state(*model);
  checkpoint.write(folder / "a.ckpt");

  TiedModel other;
  load_model_state(*other, Checkpoint::read_model(folder / "a.ckpt"));
  for (const auto& [name, tensor] : model_state(*model)) {
    CHECK(same_tensor(find(model_state(*other), name), tensor));
  }
  CHECK(other->head.is_same(other->embedding->weight));
  CHECK(other->head.requires_grad());
  CHECK_FALSE(other->frozen->weight.requires_grad());
}

TEST_CASE("One name of a tied parameter is enough", "[checkpoint]") {
  TiedModel model;
  auto tensors = Checkpoint{.model = model_state(*model)}.snapshot().model;
  std::erase_if(tensors, [](const auto& entry) { return entry.first == "head"; });
  TiedModel other;
  load_model_state(*other, tensors);
  CHECK(other->head.equal(model->head));
}

TEST_CASE("Tied parameters that differ in the checkpoint are an error", "[checkpoint]") {
  TiedModel model;
  auto tensors = model_state(*model);
  for (auto& [name, tensor] : tensors) tensor = tensor.detach().clone();
  CHECK_NOTHROW(load_model_state(*model, tensors));
  for (auto& [name, tensor] : tensors) {
    if (name == "head") tensor.add_(1);
  }
  CHECK_THROWS_WITH(load_model_state(*model, tensors), Contains("\"head\"") &&
                                                           Contains("\"embedding.weight\"") &&
                                                           Contains("differ in the checkpoint"));
}

TEST_CASE("Weights are converted to the module's type", "[checkpoint]") {
  nn::Linear single(2, 2);
  nn::Linear wide(2, 2);
  wide->to(torch::kFloat64);
  load_model_state(*wide, model_state(*single));
  CHECK(wide->weight.scalar_type() == torch::kFloat64);
  CHECK(wide->weight.to(torch::kFloat32).equal(single->weight));
}

TEST_CASE("All that doesn't fit is listed at once, and the module stays as it was",
          "[checkpoint]") {
  nn::Sequential model(nn::Linear(2, 3), nn::BatchNorm1d(3));
  const at::Tensor before = model->parameters()[0].detach().clone();
  Checkpoint::NamedTensors tensors = {
      {"0.weight", torch::ones({3, 2})}, {"0.bias", torch::ones({4})},
      {"1.weight", torch::ones({3})},    {"1.num_batches_tracked", torch::ones({})},
      {"2.weight", torch::ones({1})},    {"extra", torch::ones({1})}};
  try {
    load_model_state(*model, tensors);
    FAIL("nothing was thrown");
  } catch (const CheckpointError& error) {
    CHECK_THAT(error.what(),
               Contains("shape: \"0.bias\" is [4] in the checkpoint but [3] in the model") &&
                   Contains("type: \"1.num_batches_tracked\" is Float") &&
                   Contains("missing: \"1.bias\"") && Contains("missing: \"1.running_mean\"") &&
                   Contains("missing: \"1.running_var\"") && Contains("unexpected: \"2.weight\"") &&
                   Contains("unexpected: \"extra\"") && Contains("HINT"));
  }
  CHECK(model->parameters()[0].equal(before));

  CHECK_THROWS_WITH(load_model_state(*model, tensors, /*strict=*/false),
                    Contains("\"0.bias\"") && !Contains("missing") && !Contains("unexpected"));
  std::erase_if(tensors, [](const auto& entry) {
    return entry.first == "0.bias" || entry.first == "1.num_batches_tracked";
  });
  const auto [missing, unexpected] = load_model_state(*model, tensors, /*strict=*/false);
  CHECK(model->parameters()[0].equal(torch::ones({3, 2})));
  CHECK(missing == std::vector<std::string>{"0.bias", "1.bias", "1.running_mean", "1.running_var",
                                            "1.num_batches_tracked"});
  CHECK(unexpected == std::vector<std::string>{"2.weight", "extra"});
}
