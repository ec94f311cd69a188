// What the strategies make of a window: several real ranks are in tests/integration/ddp_test.py.
#include <catch2/catch.hpp>

#include <lightning/collectives/process_group.h>
#include <lightning/control/control_plane.h>
#include <lightning/distributed/world.h>
#include <lightning/loops/batch_transfer.h>
#include <lightning/nn/batch_norm.h>
#include <lightning/precision/detail/modes.h>
#include <lightning/run/options.h>
#include <lightning/strategies/ddp.h>
#include <lightning/strategies/detail/single_device.h>
#include <lightning/strategies/registry.h>
#include <lightning/strategies/synchronize_batch_norm.h>
#include <lightning/trainer/trainer.h>
#include <lightning/util/error.h>

#include "support/boring_module.h"

namespace {

using Catch::Matchers::Contains;

/// One rank that finds all others to be like itself.
class EqualRanks : public lightning::ControlPlane {
 public:
  explicit EqualRanks(int64_t world_size) : world_size_(world_size) {}
  int64_t rank() const override { return 0; }
  int64_t world_size() const override { return world_size_; }
  const std::string& local_address() const override { return address_; }
  const std::vector<std::string>& hosts() const override { return hosts_; }
  std::vector<std::string> all_gather(std::string_view, std::string_view payload) override {
    ++exchanges;
    return std::vector<std::string>(static_cast<size_t>(world_size_), std::string(payload));
  }
  std::string broadcast(std::string_view, std::string_view payload) override {
    return std::string(payload);
  }
  void barrier(std::string_view) override {}
  void request_stop(lightning::StopRequest) override {}
  bool stop_at(int64_t) override { return false; }
  std::optional<lightning::StopRequest> stop() const override { return std::nullopt; }
  void clear_stop() override {}
  void fail(std::string_view, lightning::FailureKind) noexcept override {}
  void set_failure_handler(std::function<void(const lightning::Failure&)>) override {}
  void set_abort_handler(std::function<void()>) override {}
  bool failed() const override { return false; }
  lightning::Failure failure() const override { return {}; }
  void set_status(const lightning::RankStatus&) override {}
  void leave() override {}

  int64_t exchanges = 0;

 private:
  int64_t world_size_;
  std::string address_ = "127.0.0.1";
  std::vector<std::string> hosts_;
};

struct DryRun {
  explicit DryRun(int64_t world_size)
      : control(std::make_shared<EqualRanks>(world_size)),
        group(lightning::ProcessGroup::fake(0, world_size)) {
    context.topology.world_size = world_size;
    world = lightning::World::from_parts(context.topology, at::kCPU, control, group);
    context.world = world.get();
  }
  lightning::DDPStrategy strategy(const lightning::DDPOptions& options = {}) {
    return lightning::DDPStrategy(context, options);
  }
  std::shared_ptr<EqualRanks> control;
  std::shared_ptr<lightning::ProcessGroup> group;
  std::shared_ptr<lightning::World> world;
  lightning::StrategyContext context;
};

void run_backward(const at::Tensor& loss) { loss.backward(); }

at::Tensor loss_of(BoringModule& module, double input) {
  return module.layer->forward(torch::full({1, 2}, input)).sum();
}

/// Its layers are registered in another order than they are used in, so that gradients don't arrive
/// in the order of the parameters.
class OutOfOrder : public BoringModule {
 public:
  OutOfOrder() {
    for (const char* name : {"c", "a", "d", "b"}) {
      register_module(name, torch::nn::Linear(2, 2));
    }
  }
  at::Tensor loss() {
    at::Tensor x = torch::ones({1, 2});
    for (const char* name : {"a", "b", "c", "d"}) {
      x = named_children()[name]->as<torch::nn::Linear>()->forward(x);
    }
    return layer->forward(x).sum();
  }
};

class WithTorchsNorm : public BoringModule {
 public:
  WithTorchsNorm() { register_module("norm", torch::nn::BatchNorm1d(2)); }
};

class WithSparse : public BoringModule {
 public:
  WithSparse() {
    register_module("words", torch::nn::Embedding(torch::nn::EmbeddingOptions(9, 2).sparse(true)));
  }
};

}  // namespace

TEST_CASE("A window of one process sums its weights and forgets those before", "[strategies]") {
  BoringModule module;
  lightning::SingleDeviceStrategy strategy(lightning::StrategyContext{});
  strategy.setup(module);
  for (int i = 0; i < 2; ++i) {
    strategy.begin_window(module);
    CHECK_FALSE(strategy.window().has_data);
    strategy.backward(run_backward, loss_of(module, 1.0), torch::tensor(3.0), false);
    strategy.backward(run_backward, {}, {}, false);
    strategy.backward(run_backward, loss_of(module, 1.0), torch::tensor({2.0}), true);
    CHECK(strategy.window().has_data);
    CHECK(strategy.window().weight.item<double>() == 5.0);
  }
  strategy.begin_window(module);
  strategy.backward(run_backward, {}, {}, true);
  CHECK_FALSE(strategy.window().has_data);
  CHECK_FALSE(strategy.window().weight.defined());
}

TEST_CASE("A transfer hook that makes a new batch doesn't lose the rank's weight", "[strategies]") {
  class NewBatches : public BoringModule {
    lightning::Batch transfer_batch_to_device(lightning::Batch batch, at::Device) override {
      return lightning::Batch({{"x", batch["x"]}});
    }
  };
  lightning::Trainer trainer(quiet_options(), {}, lightning::Loggers{});
  lightning::RunContext context = {
      .trainer = trainer, .options = trainer.options(), .module = std::make_shared<NewBatches>()};
  context.precision = std::make_shared<lightning::Float32Precision>(at::kCPU);
  lightning::RunState run(context);
  lightning::Batch batch({{"x", torch::ones({2})}});
  batch.set_rank_weight(0.25);
  CHECK(transfer_batch(run, batch).rank_weight() == 0.25);
}

TEST_CASE("A window has weights for all of its batches or for none", "[strategies]") {
  BoringModule module;
  lightning::SingleDeviceStrategy strategy(lightning::StrategyContext{});
  strategy.setup(module);
  strategy.begin_window(module);
  strategy.backward(run_backward, loss_of(module, 1.0), {}, false);
  CHECK_THROWS_WITH(strategy.backward(run_backward, loss_of(module, 1.0), torch::tensor(3.0), true),
                    Contains("gave a weight for some batches"));
}

TEST_CASE("DDP gives means over ranks and the weight along with them", "[strategies]") {
  for (const bool views : {false, true}) {
    DryRun dry(4);
    auto strategy = dry.strategy({.gradient_as_bucket_view = views});
    BoringModule module;
    strategy.setup(module);
    // The first one makes the reducer.
    strategy.begin_window(module);
    strategy.backward(run_backward, loss_of(module, 1.0), torch::tensor(1.0), true);
    module.zero_grad();
    strategy.begin_window(module);
    const int64_t before = dry.group->counters().messages;
    strategy.backward(run_backward, loss_of(module, 1.0) * 3.0, torch::tensor(3.0), false);
    CHECK(dry.group->counters().messages == before);
    strategy.backward(run_backward, loss_of(module, 2.0) * 2.0, torch::tensor(2.0), true);
    CHECK(dry.group->counters().messages == before + 1);
    CHECK(strategy.window().weight.item<double>() == 5.0);
    CHECK(module.layer->bias.grad().item<double>() == 5.0);
    CHECK(module.layer->weight.grad().equal(torch::full({1, 2}, 7.0)));
  }
}

TEST_CASE("DDP compares each set of trainable parameters once, however often they are toggled",
          "[strategies]") {
  DryRun dry(2);
  auto strategy = dry.strategy();
  BoringModule module;
  strategy.setup(module);
  CHECK(dry.control->exchanges == 1);
  const auto run_window = [&] {
    strategy.begin_window(module);
    strategy.backward(run_backward, loss_of(module, 1.0), {}, true);
  };
  run_window();
  run_window();
  CHECK(dry.control->exchanges == 2);
  for (int i = 0; i < 3; ++i) {
    module.layer->bias.set_requires_grad(false);
    run_window();
    run_window();
    module.layer->bias.set_requires_grad(true);
    run_window();
  }
  CHECK(dry.control->exchanges == 3);
  const int64_t of_two_sets = strategy.bucket_bytes();
  // Toggled inside a window, after its beginning.
  strategy.begin_window(module);
  module.layer->weight.set_requires_grad(false);
  strategy.backward(run_backward, loss_of(module, 1.0), {}, true);
  CHECK(dry.control->exchanges == 4);
  CHECK(strategy.bucket_bytes() > of_two_sets);
}

TEST_CASE("DDP's buckets are those of the first step for good", "[strategies]") {
  DryRun dry(3);
  auto strategy = dry.strategy({.bucket_cap_mb = 40.0 / (1 << 20)});
  OutOfOrder module;
  strategy.setup(module);
  std::vector<std::vector<int64_t>> first_sizes;
  size_t first_uses = 0;
  // Makes the reducer.
  strategy.begin_window(module);
  strategy.backward(run_backward, module.loss(), {}, true);
  for (int i = 0; i < 20; ++i) {
    strategy.begin_window(module);
    const int64_t before = dry.group->counters().messages;
    strategy.backward(run_backward, module.loss(), {}, true);
    const int64_t sent = dry.group->counters().messages - before;
    std::vector<std::vector<int64_t>> sizes;
    for (const auto& record : dry.group->last_collectives()) sizes.push_back(record.shape);
    sizes.erase(sizes.begin(), sizes.end() - sent);
    const size_t uses = module.layer->weight.use_count();
    if (i == 0) {
      first_sizes = sizes;
      first_uses = uses;
      CHECK(sent > 2);
    }
    CHECK(sizes == first_sizes);
    // A reducer that is to lay out its buckets anew notes parameters down in each step.
    CHECK(uses == first_uses);
  }
}

TEST_CASE("A torn down DDP leaves nothing on the module", "[strategies]") {
  DryRun dry(2);
  BoringModule module;
  auto strategy = dry.strategy();
  strategy.setup(module);
  strategy.begin_window(module);
  strategy.backward(run_backward, loss_of(module, 1.0), {}, true);
  strategy.teardown();
  const int64_t before = dry.group->counters().messages;
  module.zero_grad();
  loss_of(module, 1.0).backward();
  CHECK(module.layer->bias.grad().item<double>() == 1.0);
  CHECK(dry.group->counters().messages == before);
}

TEST_CASE("DDP refuses what it can't do", "[strategies]") {
  DryRun dry(2);
  CHECK_THROWS_WITH(dry.strategy({.bucket_cap_mb = 0.0}), Contains("bucket_cap_mb is 0"));
  WithSparse module;
  auto strategy = dry.strategy();
  CHECK_THROWS_WITH(strategy.setup(module), Contains("words") && Contains("sparse"));
}

TEST_CASE("sync_batchnorm takes our layers and names torch's", "[strategies]") {
  const auto group = lightning::ProcessGroup::fake(0, 2);
  WithTorchsNorm torchs;
  CHECK_THROWS_WITH(lightning::synchronize_batch_norm(torchs, group),
                    Contains("norm") && Contains("torch::nn::BatchNorm") && Contains("HINT"));
  CHECK_NOTHROW(lightning::synchronize_batch_norm(torchs, nullptr));

  torch::nn::Sequential own(torch::nn::Linear(2, 2), lightning::nn::BatchNorm(2));
  lightning::synchronize_batch_norm(*own, group);
  CHECK(own->at<lightning::nn::BatchNormImpl>(1).process_group() == group);
  lightning::synchronize_batch_norm(*own, nullptr);
  CHECK(own->at<lightning::nn::BatchNormImpl>(1).process_group() == nullptr);
}

TEST_CASE("The registry of strategies has the library's with their options", "[strategies]") {
  std::vector<std::string> names;
  for (const auto& entry : lightning::strategy_registry().entries()) names.push_back(entry.name);
  for (const char* name : {"ddp", "ddp_find_unused_parameters_true", "single_device"}) {
    CHECK(std::find(names.begin(), names.end(), name) != names.end());
  }
  DryRun dry(2);
  const auto create = [&](const lightning::config::SpecOf<lightning::strategy_registry>& spec) {
    return spec.create(dry.context);
  };
  CHECK(create("ddp")->name() == "ddp");
  CHECK_THROWS_WITH(create("{class_path: ddp, init_args: {bucket_cap_mb: 0}}"),
                    Contains("bucket_cap_mb is 0"));
  CHECK_THROWS_WITH(create("single_device"), Contains("there are 2 ranks"));
  CHECK_THROWS_WITH(create("dpp"), Contains("did you mean \"ddp\""));
  // A parameter that no loss uses is no error there.
  const auto unused = create("ddp_find_unused_parameters_true");
  CHECK(unused->name() == "ddp_find_unused_parameters_true");
  OutOfOrder module;
  unused->setup(module);
  unused->begin_window(module);
  CHECK_NOTHROW(unused->backward(run_backward, loss_of(module, 1.0), {}, true));
}

TEST_CASE("trainer.ddp holds unless init_args differ from it", "[strategies]") {
  lightning::TrainerOptions options;
  options.dry_run = true;
  options.world_size = 2;
  options.ddp.bucket_cap_mb = -1;
  const auto fit = [&](const char* strategy) {
    options.strategy = strategy;
    lightning::Trainer(options).fit(std::make_shared<BoringModule>(), boring_loader(8));
  };
  for (const char* strategy :
       {"auto", "ddp", "{class_path: ddp}", "ddp_find_unused_parameters_true",
        "{class_path: ddp, init_args: null}",
        "{class_path: ddp, init_args: {static_graph: false}}"}) {
    INFO(strategy);
    CHECK_THROWS_WITH(fit(strategy), Contains("bucket_cap_mb is -1"));
  }
  CHECK_NOTHROW(fit("{class_path: ddp, init_args: {bucket_cap_mb: 1}}"));
}

TEST_CASE("trainer.strategy takes a strategy of the program's own", "[strategies]") {
  static int backwards;
  class Scaling final : public lightning::Strategy {
   public:
    Scaling(const lightning::StrategyContext& context, double scale)
        : Strategy(context), scale_(scale) {}
    std::string_view name() const override { return "scaling"; }

   private:
    void do_backward(const RunBackward& run, const at::Tensor& loss, bool,
                     lightning::AccumulationWindow&) override {
      run(loss * scale_);
      ++backwards;
    }
    double scale_;
  };
  backwards = 0;
  lightning::strategy_registry().add_factory<lightning::DDPOptions>(
      "scaling", "for this test",
      [](const lightning::StrategyContext& context, const lightning::DDPOptions& options) {
        return std::make_shared<Scaling>(context, options.bucket_cap_mb);
      });
  lightning::TrainerOptions options = quiet_options();
  options.max_epochs = 1;
  options.strategy = "{class_path: scaling, init_args: {bucket_cap_mb: 0}}";
  const auto module = std::make_shared<BoringModule>();
  const at::Tensor before = module->layer->weight.detach().clone();
  lightning::Trainer(options, {}, lightning::Loggers{}).fit(module, boring_loader());
  CHECK(backwards == 3);
  CHECK(module->layer->weight.equal(before));

  options.strategy = "auto";
  lightning::Trainer(options, {.loggers = lightning::Loggers{},
                               .strategy =
                                   [](const lightning::StrategyContext& context) {
                                     return std::make_shared<Scaling>(context, 1.0);
                                   }})
      .fit(module, boring_loader());
  CHECK(backwards == 6);
  CHECK_FALSE(module->layer->weight.equal(before));
}
