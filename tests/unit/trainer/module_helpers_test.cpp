// What LightningModule offers beside its hooks: log_dict(), outputs of steps, freeze(), gradient
// norms, all_gather() of tensors.
#include <catch2/catch.hpp>

#include <cmath>
#include <fstream>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <lightning/callbacks/callback.h>
#include <lightning/core/grad_norm.h>
#include <lightning/metrics/aggregation.h>
#include <lightning/trainer/trainer.h>
#include <lightning/util/error.h>

#include "support/boring_module.h"
#include "support/metric_rows.h"
#include "support/temporary_folder.h"

namespace {

using Catch::Contains;
using lightning::Batch;
using lightning_tests::Lines;
using lightning_tests::MetricRows;

lightning::TrainerOptions one_epoch(const lightning_tests::TemporaryFolder& folder) {
  lightning::TrainerOptions options = quiet_options();
  options.default_root_dir = folder.path();
  options.max_epochs = 1;
  options.log_every_n_steps = 1;
  return options;
}

}  // namespace

TEST_CASE("log_dict logs numbers, tensors and metrics with the same options", "[trainer]") {
  class Module : public BoringModule {
   public:
    lightning::StepOutput training_step(const Batch& batch, int64_t index) override {
      sum->update(2.0);
      log_dict({{"number", 1.5}, {"tensor", torch::tensor(0.25)}, {"sum", sum}},
               {.on_step = false, .on_epoch = true});
      const std::map<std::string, at::Tensor> more = {{"a", torch::tensor(3.0)},
                                                      {"b", torch::tensor(4.0)}};
      log_dict(more);
      return BoringModule::training_step(batch, index);
    }
    std::shared_ptr<lightning::metrics::SumMetric> sum =
        register_metric("sum", std::make_shared<lightning::metrics::SumMetric>());
  };
  const lightning_tests::TemporaryFolder folder;
  const auto rows = std::make_shared<MetricRows>();
  lightning::Trainer trainer(one_epoch(folder), {}, lightning::Loggers{rows});
  trainer.fit(std::make_shared<Module>(), boring_loader(4));
  CHECK(rows->lines == Lines{"1 a=3 b=4", "2 a=3 b=4", "2 number=1.5 sum=4 tensor=0.25"});
}

TEST_CASE("Values of rank 0 alone are logged by rank 0", "[trainer]") {
  class Module : public BoringModule {
   public:
    lightning::StepOutput training_step(const Batch& batch, int64_t index) override {
      log("mine", 7.0, {.rank_zero_only = true});
      return BoringModule::training_step(batch, index);
    }
  };
  const lightning_tests::TemporaryFolder folder;
  const auto rows = std::make_shared<MetricRows>();
  lightning::Trainer trainer(one_epoch(folder), {}, lightning::Loggers{rows});
  trainer.fit(std::make_shared<Module>(), boring_loader(2));
  CHECK(rows->lines == Lines{"1 mine=7"});
}

TEST_CASE("Further outputs of a training step reach on_train_batch_end without a graph",
          "[trainer]") {
  class Module : public BoringModule {
   public:
    lightning::StepOutput training_step(const Batch& batch, int64_t index) override {
      if (index == 1) return lightning::StepOutput::skip().with({{"index", torch::tensor(index)}});
      const at::Tensor output = layer->forward(batch["x"]);
      return lightning::StepOutput(output.square().mean())
          .with({{"output", output}, {"index", torch::tensor(index)}});
    }
    void on_train_batch_end(const lightning::StepOutput& output, const Batch&,
                            int64_t index) override {
      CHECK(output.outputs["index"].item<int64_t>() == index);
      CHECK(output.is_skip() == (index == 1));
      CHECK(output.outputs.contains("output") == (index != 1));
      if (index != 1) CHECK_FALSE(output.outputs["output"].requires_grad());
      ++ends;
    }
    int ends = 0;
  };
  class Watcher : public lightning::Callback {
   public:
    void on_train_batch_end(lightning::TrainerContext&, lightning::LightningModule&,
                            const lightning::StepOutput& output, const Batch&, int64_t) override {
      names.push_back(output.outputs.size());
    }
    std::vector<int64_t> names;
  };
  const bool automatic = GENERATE(true, false);
  const lightning_tests::TemporaryFolder folder;
  const auto module = std::make_shared<Module>();
  module->set_automatic_optimization(automatic);
  const auto watcher = std::make_shared<Watcher>();
  lightning::Trainer trainer(one_epoch(folder), {watcher}, lightning::Loggers{});
  trainer.fit(module, boring_loader(6));
  CHECK(module->ends == 3);
  CHECK(watcher->names == std::vector<int64_t>{2, 1, 2});
}

TEST_CASE("Outputs of evaluation steps live until the end of their batch", "[trainer]") {
  class Module : public BoringModule {
   public:
    void validation_step(const Batch&, int64_t index) override {
      CHECK(step_outputs().empty());
      if (index != 1) set_step_outputs({{"index", torch::tensor(index)}});
    }
    void test_step(const Batch& batch, int64_t index) override { validation_step(batch, index); }
    void on_validation_batch_end(const Batch&, int64_t index) override { note(index); }
    void on_test_batch_end(const Batch&, int64_t index) override { note(index); }
    void on_validation_epoch_end() override { CHECK(step_outputs().empty()); }
    void note(int64_t index) {
      CHECK(step_outputs().contains("index") == (index != 1));
      if (index != 1) seen.push_back(step_outputs()["index"].item<int64_t>());
    }
    std::vector<int64_t> seen;
  };
  class Watcher : public lightning::Callback {
   public:
    void on_validation_batch_end(lightning::TrainerContext&, lightning::LightningModule& module,
                                 const Batch&, int64_t) override {
      sizes.push_back(module.step_outputs().size());
    }
    std::vector<int64_t> sizes;
  };
  const lightning_tests::TemporaryFolder folder;
  const auto module = std::make_shared<Module>();
  const auto watcher = std::make_shared<Watcher>();
  lightning::Trainer trainer(one_epoch(folder), {watcher}, lightning::Loggers{});
  trainer.validate(module, boring_loader(6));
  trainer.test(module, boring_loader(2));
  CHECK(module->seen == std::vector<int64_t>{0, 2, 0});
  CHECK(watcher->sizes == std::vector<int64_t>{1, 0, 1});
}

TEST_CASE("grad_norm gives Lightning's names and values", "[core]") {
  const torch::nn::Sequential module(torch::nn::Linear(2, 3), torch::nn::Linear(3, 1),
                                     torch::nn::Linear(1, 1));
  CHECK(lightning::grad_norm(*module, 2.0).empty());
  const auto parameters = module->parameters();
  // As record_grad_norms() of tests/golden/metrics/record_metrics.py.
  double next = 1.0;
  for (size_t i = 0; i < 4; ++i) {
    at::Tensor gradient = torch::empty_like(parameters[i]).flatten();
    for (int64_t k = 0; k < gradient.numel(); ++k) {
      gradient[k] = (k % 2 == 0 ? 1.0 : -1.0) * next;
      next += 1.0;
    }
    parameters[i].mutable_grad() = gradient.reshape(parameters[i].sizes());
  }
  std::map<std::string, at::Tensor> norms;
  for (const double norm_type : {2.0, 1.5, std::numeric_limits<double>::infinity()}) {
    norms.merge(lightning::grad_norm(*module, norm_type));
  }
  std::ifstream golden("tests/golden/metrics/grad_norms.txt");
  REQUIRE(golden);
  std::string name;
  double value = 0.0;
  size_t lines = 0;
  for (; golden >> name >> value; ++lines) {
    CAPTURE(name);
    REQUIRE(norms.count(name) == 1);
    CHECK(norms.at(name).item<double>() == Approx(value).epsilon(1e-5));
  }
  CHECK(lines == 15);
  CHECK(norms.size() == lines);
  CHECK(lightning::grad_norm(*module, 2.0, ".").count("grad_2.0_norm.0.weight") == 1);
  for (const double bad : {0.0, -1.0, std::nan("")}) {
    CHECK_THROWS_AS(lightning::grad_norm(*module, bad), lightning::ConfigError);
  }
}

TEST_CASE("grad_norm of a step goes to log_dict", "[trainer]") {
  class Module : public BoringModule {
   public:
    void on_before_optimizer_step(torch::optim::Optimizer&) override {
      log_dict(lightning::grad_norm(*this, 2));
    }
  };
  const lightning_tests::TemporaryFolder folder;
  lightning::Trainer trainer(one_epoch(folder), {}, lightning::Loggers{});
  trainer.fit(std::make_shared<Module>(), boring_loader(2));
  const auto& metrics = trainer.callback_metrics();
  const double weight = metrics.at("grad_2.0_norm/layer.weight");
  const double bias = metrics.at("grad_2.0_norm/layer.bias");
  CHECK(weight > 0.0);
  CHECK(metrics.at("grad_2.0_norm_total") == Approx(std::hypot(weight, bias)).epsilon(1e-5));
}

TEST_CASE("freeze and unfreeze change gradients and mode, as in Lightning", "[core]") {
  BoringModule module;
  module.freeze();
  CHECK_FALSE(module.is_training());
  CHECK_FALSE(module.layer->is_training());
  for (const at::Tensor& parameter : module.parameters()) CHECK_FALSE(parameter.requires_grad());
  module.unfreeze();
  CHECK(module.is_training());
  CHECK(module.layer->is_training());
  for (const at::Tensor& parameter : module.parameters()) CHECK(parameter.requires_grad());
}

TEST_CASE("all_gather of one rank adds a dimension", "[trainer]") {
  class Module : public BoringModule {
   public:
    lightning::StepOutput training_step(const Batch& batch, int64_t) override {
      const at::Tensor loss = layer->forward(batch["x"]).square().mean();
      const at::Tensor plain = trainer().all_gather(loss);
      CHECK_FALSE(plain.requires_grad());
      CHECK(trainer().all_gather(batch["x"]).sizes().vec() == std::vector<int64_t>{1, 2, 2});
      const at::Tensor synced = trainer().all_gather(loss, /*sync_grads=*/true);
      CHECK(synced.sizes().vec() == std::vector<int64_t>{1});
      CHECK(torch::equal(synced[0], plain[0]));
      return synced.sum();
    }
  };
  const lightning_tests::TemporaryFolder folder;
  const auto module = std::make_shared<Module>();
  const at::Tensor before = module->layer->weight.detach().clone();
  lightning::Trainer trainer(one_epoch(folder), {}, lightning::Loggers{});
  trainer.fit(module, boring_loader(2));
  CHECK_FALSE(torch::equal(before, module->layer->weight));
}
