#include <lightning/checkpoint/load_from_checkpoint.h>

#include <catch2/catch.hpp>

#include <memory>
#include <optional>
#include <string>

#include <torch/nn/modules/linear.h>

#include <lightning/config/fields.h>
#include <lightning/util/error.h>
#include <lightning/util/file_system.h>

#include "support/captured_stderr.h"
#include "support/temporary_folder.h"

using Catch::Matchers::Contains;
using lightning::Checkpoint;
using lightning::CheckpointError;
using lightning::ConfigError;
using lightning_tests::TemporaryFolder;

namespace {

struct NetOptions {
  int64_t width = 2;
  std::string pretrained = "";
};
LIGHTNING_FIELDS(NetOptions, LIGHTNING_FIELD(width, "units"),
                 LIGHTNING_FIELD(pretrained, "folder of the weights"))

struct Net : torch::nn::Module {
  using Options = NetOptions;
  explicit Net(NetOptions net_options) : options(std::move(net_options)) {
    linear = register_module("linear", torch::nn::Linear(options.width, 1));
  }
  NetOptions options;
  torch::nn::Linear linear{nullptr};
};

/// Its constructor reads a folder that is gone when the checkpoint is loaded.
struct PretrainedNet : Net {
  explicit PretrainedNet(const NetOptions& net_options) : Net(net_options) {
    if (!net_options.pretrained.empty()) lightning::read_file(net_options.pretrained);
  }
  static std::shared_ptr<PretrainedNet> from_checkpoint(const NetOptions& net_options,
                                                        const std::filesystem::path& assets) {
    auto net = std::make_shared<PretrainedNet>(NetOptions{.width = net_options.width});
    net->vocabulary = lightning::read_file(assets / "vocab.txt");
    return net;
  }
  std::string vocabulary;
};

Checkpoint checkpoint_of(const Net& net, const std::string& config) {
  return {.model = lightning::model_state(net),
          .state = {},
          .config = config,
          .assets = {{"vocab.txt", "[CLS]\n"}}};
}

}  // namespace

TEST_CASE("A model is rebuilt from a checkpoint's options and weights", "[checkpoint]") {
  const TemporaryFolder folder;
  const Net net({.width = 5});
  checkpoint_of(net, "trainer: {max_epochs: 1}\nmodel: {width: 5}\n").write(folder / "a.ckpt");
  checkpoint_of(net, "model: {class_path: Net, init_args: {width: 5}}\n").write(folder / "b.ckpt");
  for (const char* name : {"a.ckpt", "b.ckpt"}) {
    const auto loaded = lightning::load_from_checkpoint<Net>(folder / name);
    CHECK(loaded->options.width == 5);
    CHECK(loaded->linear->weight.equal(net.linear->weight));
  }
}

TEST_CASE("A model rebuilds itself from a checkpoint's assets", "[checkpoint]") {
  const TemporaryFolder folder;
  const Net net({.width = 3});
  checkpoint_of(net, "model: {width: 3, pretrained: /gone}\n").write(folder / "a.ckpt");
  std::filesystem::create_directory(folder / "moved");
  std::filesystem::rename(folder / "a.ckpt", folder / "moved/b.ckpt");
  const auto loaded = lightning::load_from_checkpoint<PretrainedNet>(folder / "moved/b.ckpt");
  CHECK(loaded->vocabulary == "[CLS]\n");
  CHECK(loaded->linear->weight.equal(net.linear->weight));
}

TEST_CASE("A checkpoint from which no such model can be rebuilt is an error", "[checkpoint]") {
  const TemporaryFolder folder;
  const Net net({.width = 3});
  checkpoint_of(net, "").write(folder / "none.ckpt");
  checkpoint_of(net, "model: {widht: 3}\n").write(folder / "typo.ckpt");
  checkpoint_of(net, "model: {width: 4}\n").write(folder / "other.ckpt");
  checkpoint_of(net, "model: {width: [\n").write(folder / "yaml.ckpt");
  const auto load = [&](const char* name) { lightning::load_from_checkpoint<Net>(folder / name); };
  CHECK_THROWS_WITH(load("none.ckpt"), Contains("no section \"model\"") && Contains("HINT"));
  CHECK_THROWS_AS(load("typo.ckpt"), ConfigError);
  CHECK_THROWS_WITH(load("typo.ckpt"), Contains("widht") && Contains("typo.ckpt/config.yaml"));
  CHECK_THROWS_WITH(load("other.ckpt"), Contains("\"linear.weight\" is [1, 3] in the checkpoint"));
  CHECK_THROWS_AS(load("yaml.ckpt"), ConfigError);
  CHECK_THROWS_AS(load("missing.ckpt"), CheckpointError);
}

TEST_CASE("A rebuilt model may have other options", "[checkpoint]") {
  const TemporaryFolder folder;
  const Net net({.width = 5});
  checkpoint_of(net, "model: {width: 5, pretrained: old}\n").write(folder / "a.ckpt");
  const auto loaded = lightning::load_from_checkpoint<Net>(
      folder / "a.ckpt", {}, [](NetOptions& options) { options.pretrained = "new"; });
  CHECK(loaded->options.pretrained == "new");
  CHECK(loaded->options.width == 5);
  CHECK(loaded->linear->weight.equal(net.linear->weight));
}

TEST_CASE("A rebuilt model is put on the device that is asked for", "[checkpoint]") {
  // Its weights can't move where there is no second device: it only notes where to.
  struct Moving : Net {
    using Net::Net;
    void to(at::Device device, bool = false) override { moved_to = device; }
    std::optional<at::Device> moved_to;
  };
  const TemporaryFolder folder;
  checkpoint_of(Net({.width = 2}), "model: {width: 2}\n").write(folder / "a.ckpt");
  const at::Device gpu(at::kCUDA, 1);
  CHECK(lightning::load_from_checkpoint<Moving>(folder / "a.ckpt", {.device = gpu})->moved_to ==
        gpu);
}

TEST_CASE("Without strict a rebuilt model takes the weights that fit and tells of the others",
          "[checkpoint]") {
  const TemporaryFolder folder;
  const Net net({.width = 2});
  Checkpoint checkpoint = checkpoint_of(net, "model: {width: 2}\n");
  std::erase_if(checkpoint.model, [](const auto& entry) { return entry.first == "linear.bias"; });
  checkpoint.model.emplace_back("old.head", at::ones({1}));
  checkpoint.write(folder / "a.ckpt");
  CHECK_THROWS_WITH(lightning::load_from_checkpoint<Net>(folder / "a.ckpt"),
                    Contains("missing: \"linear.bias\"") && Contains("unexpected: \"old.head\""));
  const lightning_tests::CapturedStderr output;
  const auto loaded = lightning::load_from_checkpoint<Net>(folder / "a.ckpt", {.strict = false});
  CHECK(loaded->linear->weight.equal(net.linear->weight));
  CHECK_THAT(output.text(),
             Contains("a.ckpt\": loaded without strict; not in it, kept as they are: "
                      "\"linear.bias\"; not in the model, not used: \"old.head\"."));
}

TEST_CASE("A warning of many tensors names the first of them", "[checkpoint]") {
  const TemporaryFolder folder;
  const Net net({.width = 2});
  Checkpoint checkpoint = checkpoint_of(net, "model: {width: 2}\n");
  for (int i = 0; i < 11; ++i) {
    checkpoint.model.emplace_back(std::string("old.") + static_cast<char>('a' + i), at::ones({1}));
  }
  checkpoint.write(folder / "a.ckpt");
  const lightning_tests::CapturedStderr output;
  lightning::load_from_checkpoint<Net>(folder / "a.ckpt", {.strict = false});
  CHECK_THAT(output.text(),
             Contains("\"old.a\"") && Contains("\"old.h\" and 3 others") && !Contains("old.i"));
}
