#include <lightning/precision/precision.h>

#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include <ATen/autocast_mode.h>
#include <torch/torch.h>
#include <catch2/catch.hpp>

#include <lightning/optim/grad_utils.h>
#include <lightning/optim/optimizers.h>
#include <lightning/precision/detail/loss_scaler.h>
#include <lightning/precision/registry.h>
#include <lightning/util/log.h>

using Catch::Matchers::Contains;
using lightning::Batch;
using lightning::Precision;
namespace lo = lightning::optim;

namespace {

const at::Device kCpu(at::kCPU);

/// As a config names it; float16 stays float16.
std::shared_ptr<Precision> make(const std::string& name) {
  auto spec = lightning::config::ConfigNode::map();
  spec.set_path("class_path", lightning::config::ConfigNode::scalar(name));
  if (name == "16-mixed") {
    spec.set_path("init_args.force_float16", lightning::config::ConfigNode::scalar("true"));
  }
  return lightning::precision_registry().create(spec, "trainer.precision", kCpu);
}

std::shared_ptr<Precision> make_plain(const std::string& name) {
  return lightning::precision_registry().create(lightning::config::ConfigNode::scalar(name),
                                                "trainer.precision", kCpu);
}

at::ScalarType matmul_dtype() {
  return torch::ones({2, 2}).matmul(torch::ones({2, 2})).scalar_type();
}

at::Tensor weight_of(double value) { return torch::full({}, value, torch::kDouble); }

}  // namespace

TEST_CASE("16-mixed becomes bf16-mixed on the CPU with one warning", "[precision][process]") {
  std::string lines;
  auto previous =
      lightning::set_log_sink([&](std::string_view line) { lines += std::string(line) + "\n"; });
  const auto first = make_plain("16-mixed");
  const auto second = make_plain("16-mixed");
  lightning::set_log_sink(std::move(previous));
  CHECK(first->name() == "bf16-mixed");
  CHECK(second->loss_scaler() == nullptr);
  CHECK(std::count(lines.begin(), lines.end(), '\n') == 1);
  CHECK_THAT(lines, Contains("bf16-mixed"));
}

TEST_CASE("The registry of precisions has Lightning's names, aliases included", "[precision]") {
  const std::array<std::pair<const char*, const char*>, 10> names = {{{"32-true", "32-true"},
                                                                      {"32", "32-true"},
                                                                      {"64-true", "64-true"},
                                                                      {"64", "64-true"},
                                                                      {"bf16-true", "bf16-true"},
                                                                      {"16-true", "16-true"},
                                                                      {"bf16-mixed", "bf16-mixed"},
                                                                      {"bf16", "bf16-mixed"},
                                                                      {"16-mixed", "16-mixed"},
                                                                      {"16", "16-mixed"}}};
  for (const auto& [given, name] : names) {
    const auto* entry =
        lightning::precision_registry().find_entry(lightning::config::ConfigNode::scalar(given));
    REQUIRE(entry != nullptr);
    CHECK(entry->name == name);
  }
  CHECK_THROWS_WITH(make_plain("bf17-mixed"), Contains("unknown precision \"bf17-mixed\"") &&
                                                  Contains("did you mean \"bf16-mixed\""));
}

TEST_CASE("init_args of 16-mixed reach its loss scaler", "[precision]") {
  auto spec = lightning::config::ConfigNode::map();
  spec.set_path("class_path", lightning::config::ConfigNode::scalar("16-mixed"));
  spec.set_path("init_args.force_float16", lightning::config::ConfigNode::scalar("true"));
  spec.set_path("init_args.loss_scaler.init_scale", lightning::config::ConfigNode::scalar("8"));
  const auto precision = lightning::precision_registry().create(spec, "trainer.precision", kCpu);
  CHECK(precision->loss_scaler()->scale().item<double>() == 8.0);
}

/// Scales losses by 4 and counts steps.
class ByFour final : public Precision {
 public:
  explicit ByFour(at::Device device) : Precision(device) {}
  std::string_view name() const override { return "by_four"; }
  int steps = 0;

 private:
  at::Tensor do_scale_loss(const at::Tensor& loss) const override { return loss * 4.0; }
  bool do_scales_loss() const override { return true; }
  at::Tensor do_unscale(const std::vector<at::Tensor>& gradients,
                        const at::Tensor& divisor) override {
    for (const at::Tensor& gradient : gradients) {
      gradient.div_(4.0);
      if (divisor.defined()) gradient.div_(divisor.to(gradient.scalar_type()));
    }
    return gradients.front().isfinite().all().logical_not().to(at::kFloat).reshape({1});
  }
  void do_step(torch::optim::Optimizer& optimizer) override {
    step_optimizer(optimizer);
    ++steps;
  }
};

TEST_CASE("A precision of the user's own scales, unscales and skips", "[precision]") {
  ByFour precision(kCpu);
  at::Tensor weight = torch::zeros({1}, torch::requires_grad());
  lo::SGD optimizer({weight}, torch::optim::SGDOptions(1.0));
  precision.scale_loss(weight.sum() * 6.0).backward();
  CHECK(weight.grad().item<float>() == 24.0F);
  precision.prepare_gradients(optimizer, weight_of(2.0), /*needed=*/false);
  precision.step(optimizer);
  CHECK(weight.item<float>() == -3.0F);
  weight.mutable_grad().fill_(std::numeric_limits<float>::infinity());
  precision.step(optimizer);
  CHECK(weight.item<float>() == -3.0F);
  CHECK(precision.steps == 2);
}

TEST_CASE("True precisions convert floating weights, buffers and batches only", "[precision]") {
  for (const auto& [mode, dtype] :
       {std::pair("64-true", torch::kDouble), std::pair("bf16-true", torch::kBFloat16),
        std::pair("16-true", torch::kHalf)}) {
    CAPTURE(mode);
    torch::nn::BatchNorm1d module(3);
    const auto precision = make(mode);
    CHECK(precision->name() == mode);
    CHECK_FALSE(precision->scales_loss());
    const at::Tensor weight = module->weight;
    precision->convert_module(*module);
    CHECK(weight.scalar_type() == dtype);
    CHECK(weight.requires_grad());
    CHECK(module->running_mean.scalar_type() == dtype);
    CHECK(module->num_batches_tracked.scalar_type() == torch::kLong);
    const Batch batch = precision->convert_batch(
        Batch({{"x", torch::ones({2})}, {"ids", torch::ones({2}, torch::kLong)}}));
    CHECK(batch["x"].scalar_type() == dtype);
    CHECK(batch["ids"].scalar_type() == torch::kLong);
    // Loaders' threads make tensors meanwhile.
    const auto context = precision->forward_context();
    CHECK(torch::ones({2}).scalar_type() == torch::kFloat);
  }

  const auto plain = make("32-true");
  CHECK(plain->convert_batch(Batch({{"x", torch::ones({2})}}))["x"].scalar_type() == torch::kFloat);
}

TEST_CASE("fused optimizers step 16-bit weights with state of their dtype", "[precision]") {
  for (const auto& [mode, dtype] :
       {std::pair("bf16-true", torch::kBFloat16), std::pair("16-true", torch::kHalf)}) {
    CAPTURE(mode);
    const auto precision = make(mode);
    at::Tensor weight = torch::ones({2}, dtype).requires_grad_();
    lo::SGD optimizer({weight}, torch::optim::SGDOptions(0.5).momentum(0.5));
    for (int step = 0; step < 2; ++step) {
      optimizer.zero_grad();
      precision->scale_loss(weight.sum()).backward();
      precision->step(optimizer);
    }
    // 1 - 0.5 * 1 - 0.5 * 1.5, all of them numbers of 16 bits.
    CHECK(weight.scalar_type() == dtype);
    CHECK(weight.detach().eq(-0.25).all().item<bool>());
    // 300 squared is out of float16's range; the norm isn't.
    weight.mutable_grad() = torch::full({2}, 300.0, dtype);
    const at::Tensor norm = lo::clip_grad_norm_(std::vector<at::Tensor>{weight}, 1.0);
    CHECK(norm.scalar_type() == torch::kFloat);
    CHECK(norm.item<double>() == Approx(300.0 * std::sqrt(2.0)));
  }
}

TEST_CASE("the forward context autocasts for as long as it lives", "[precision]") {
  CHECK(matmul_dtype() == torch::kFloat);
  for (const auto& [mode, dtype] :
       {std::pair("32-true", torch::kFloat), std::pair("64-true", torch::kFloat),
        std::pair("bf16-mixed", torch::kBFloat16), std::pair("16-mixed", torch::kHalf)}) {
    const auto precision = make(mode);
    {
      const auto context = precision->forward_context();
      CHECK(matmul_dtype() == dtype);
      {
        const auto inner = make("bf16-mixed")->forward_context();
        CHECK(matmul_dtype() == torch::kBFloat16);
      }
      CHECK(matmul_dtype() == dtype);
    }
    CHECK(matmul_dtype() == torch::kFloat);
  }
}

TEST_CASE("the forward context ends with an exception", "[precision]") {
  const auto precision = make("bf16-mixed");
  try {
    const auto context = precision->forward_context();
    throw std::runtime_error("in training_step");
  } catch (const std::runtime_error&) {
  }
  CHECK(matmul_dtype() == torch::kFloat);
  CHECK_FALSE(at::autocast::is_autocast_enabled(at::kCPU));
}

TEST_CASE("weights changed inside a forward context are seen at once", "[precision]") {
  const auto precision = make("bf16-mixed");
  at::Tensor weight = torch::ones({2, 2}, torch::requires_grad());
  lo::SGD optimizer({weight}, torch::optim::SGDOptions(1.0));
  const at::Tensor x = torch::ones({1, 2});
  const auto context = precision->forward_context();
  CHECK(x.matmul(weight).sum().item<float>() == 4.0F);
  weight.mutable_grad() = torch::ones({2, 2});
  precision->step(optimizer);
  CHECK(x.matmul(weight).sum().item<float>() == 0.0F);
  weight.set_data(torch::full({2, 2}, 3.0));
  CHECK(x.matmul(weight).sum().item<float>() == 12.0F);
}

TEST_CASE("a forward without gradients doesn't cut weights off", "[precision]") {
  const auto precision = make("bf16-mixed");
  at::Tensor weight = torch::ones({2, 2}, torch::requires_grad());
  const at::Tensor x = torch::ones({1, 2});
  at::Tensor loss;
  {
    const auto context = precision->forward_context();
    {
      torch::NoGradGuard no_grad;
      x.matmul(weight);
    }
    loss = x.matmul(weight).to(torch::kFloat).sum();
  }
  REQUIRE(loss.requires_grad());
  loss.backward();
  CHECK(weight.grad().sum().item<float>() == 4.0F);
}

TEST_CASE("weighted windows equal one big batch, in every mode and on every way", "[precision]") {
  // Micro-batches of 3, 1 and 4 samples against the mean over all 8.
  const at::Tensor x = torch::arange(16, torch::kFloat).view({8, 2}).mul(0.1).sin();
  const auto loss_of = [](const at::Tensor& weight, const at::Tensor& rows) {
    return rows.matmul(weight.to(rows.scalar_type())).square().mean();
  };
  for (const std::string mode : {"32-true", "64-true", "16-mixed"}) {
    const auto dtype = mode == "64-true" ? torch::kDouble : torch::kFloat;
    for (const bool fused : {true, false}) {
      for (const bool needed : {true, false}) {
        CAPTURE(mode, fused, needed);
        const auto precision = make(mode);
        at::Tensor weight = torch::ones({2}, dtype).requires_grad_();
        at::Tensor reference = torch::ones({2}, dtype).requires_grad_();
        std::unique_ptr<torch::optim::Optimizer> optimizer;
        const torch::optim::SGDOptions options(1.0);
        const std::vector<at::Tensor> params = {weight};
        if (fused) {
          optimizer = std::make_unique<lo::SGD>(params, options);
        } else {
          optimizer = std::make_unique<torch::optim::SGD>(params, options);
        }
        at::Tensor total = weight_of(0.0);
        int64_t begin = 0;
        for (const int64_t rows : {3, 1, 4}) {
          const at::Tensor loss = loss_of(weight, x.narrow(0, begin, rows).to(dtype));
          precision->scale_loss(loss * static_cast<double>(rows)).backward();
          total = total + static_cast<double>(rows);
          begin += rows;
        }
        loss_of(reference, x.to(dtype)).backward();
        precision->prepare_gradients(*optimizer, total, needed);
        if (needed) CHECK(torch::allclose(weight.grad(), reference.grad(), 1e-5, 1e-8));
        precision->step(*optimizer);
        const at::Tensor expected = reference.detach() - reference.grad();
        const double tolerance = dtype == torch::kDouble ? 1e-14 : 1e-6;
        CHECK(torch::allclose(weight.detach(), expected, tolerance, tolerance));
      }
    }
  }
}

TEST_CASE("a summed weight of zero skips the step", "[precision]") {
  for (const std::string mode : {"32-true", "16-mixed"}) {
    for (const bool needed : {true, false}) {
      const auto precision = make(mode);
      at::Tensor weight = torch::ones({2}, torch::requires_grad());
      lo::AdamW optimizer({weight}, torch::optim::AdamWOptions(0.1));
      precision->scale_loss(weight.sum() * 0.0).backward();
      precision->prepare_gradients(optimizer, weight_of(0.0), needed);
      CHECK(lo::all_finite(std::vector<at::Tensor>{weight.grad()}));
      precision->step(optimizer);
      precision->end_window();
      CHECK(weight.detach().eq(1.0).all().item<bool>());
      // It was no overflow.
      if (precision->loss_scaler() != nullptr) {
        CHECK(precision->loss_scaler()->scale().item<float>() == 65536.0F);
      }
    }
  }
}

TEST_CASE("clipping sees unscaled gradients, which are unscaled once", "[precision]") {
  const auto precision = make("16-mixed");
  at::Tensor weight = torch::zeros({1}, torch::requires_grad());
  lo::SGD optimizer({weight}, torch::optim::SGDOptions(1.0));
  precision->scale_loss((weight * 10.0).sum()).backward();
  CHECK(weight.grad().item<float>() == 655360.0F);
  precision->prepare_gradients(optimizer, {}, /*needed=*/true);
  CHECK(weight.grad().item<float>() == 10.0F);
  lo::clip_grad_norm_(std::vector<at::Tensor>{weight}, 2.0);
  precision->step(optimizer);
  CHECK(weight.item<float>() == Approx(-2.0).epsilon(1e-5));
}

TEST_CASE("of two optimizers only the one that overflowed is skipped", "[precision]") {
  const auto precision = make("16-mixed");
  at::Tensor a = torch::zeros({1}, torch::requires_grad());
  at::Tensor b = torch::zeros({1}, torch::requires_grad());
  lo::SGD first({a}, torch::optim::SGDOptions(1.0));
  lo::SGD second({b}, torch::optim::SGDOptions(1.0));
  precision->scale_loss(a.sum() * std::numeric_limits<double>::infinity() + b.sum()).backward();
  precision->step(first);
  CHECK(precision->loss_scaler()->scale().item<float>() == 65536.0F);
  precision->step(second);
  CHECK(precision->loss_scaler()->scale().item<float>() == 65536.0F);
  precision->end_window();
  CHECK(precision->loss_scaler()->scale().item<float>() == 32768.0F);
  CHECK(a.item<float>() == 0.0F);
  CHECK(b.item<float>() == -1.0F);
}

TEST_CASE("precision state is the scaler's and empty without one", "[precision]") {
  const auto plain = make("bf16-mixed");
  CHECK(plain->state_dict().empty());
  const auto scaled = make("16-mixed");
  CHECK(scaled->loss_scaler() != nullptr);
  const lightning::StateDict state = scaled->state_dict();
  CHECK(state.contains("scale"));
  plain->load_state_dict(state);
  scaled->load_state_dict({});
  CHECK(scaled->loss_scaler()->scale().item<float>() == 65536.0F);
}
