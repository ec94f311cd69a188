#include <lightning/precision/detail/nonfinite_guard.h>

#include <limits>

#include <torch/torch.h>
#include <catch2/catch.hpp>

#include <lightning/precision/detail/loss_scaler.h>

using lightning::LossScaler;
using lightning::NonFiniteGuard;

namespace {

const double kInf = std::numeric_limits<double>::infinity();
const double kNan = std::numeric_limits<double>::quiet_NaN();

at::Tensor scalar(double value) { return torch::full({}, value); }

}  // namespace

TEST_CASE("the guard names the first bad step and what was bad", "[precision]") {
  for (const bool device_path : {false, true}) {
    CAPTURE(device_path);
    NonFiniteGuard guard(nullptr, device_path);
    const std::vector<at::Tensor> good = {torch::ones({3}), torch::ones({2})};
    const std::vector<at::Tensor> bad = {torch::ones({3}), torch::full({2}, kNan)};
    for (int step = 1; step <= 3; ++step) {
      guard.observe_loss(scalar(0.5), step);
      guard.observe_gradients(good, step);
    }
    CHECK_FALSE(guard.read().has_value());

    guard.observe_loss(scalar(1.0), 4);
    guard.observe_gradients(bad, 4);
    guard.observe_loss(scalar(kNan), 5);
    guard.observe_gradients(bad, 5);
    const auto gradient = guard.read();
    REQUIRE(gradient.has_value());
    CHECK(gradient->in_gradients);
    CHECK(gradient->step == 4);

    guard.observe_loss(scalar(kInf), 6);
    guard.observe_gradients(bad, 6);
    const auto loss = guard.read();
    REQUIRE(loss.has_value());
    CHECK_FALSE(loss->in_gradients);
    CHECK(loss->step == 6);
    // Findings are told once.
    CHECK_FALSE(guard.read().has_value());
  }
}

TEST_CASE("the guard takes the norm of gradients in their place", "[precision]") {
  for (const bool device_path : {false, true}) {
    NonFiniteGuard guard(nullptr, device_path);
    guard.observe_gradient_norm(scalar(3.0), 1);
    guard.observe_gradient_norm(scalar(kInf), 2);
    const auto finding = guard.read();
    REQUIRE(finding.has_value());
    CHECK(finding->in_gradients);
    CHECK(finding->step == 2);
  }
}

TEST_CASE("looking at losses changes nothing that backward needs", "[precision]") {
  for (const bool device_path : {false, true}) {
    NonFiniteGuard guard(nullptr, device_path);
    at::Tensor weight = torch::ones({2}, torch::requires_grad());
    const at::Tensor loss = weight.sum().exp();  // exp saves its result
    guard.observe_loss(loss, 1);
    loss.backward();
    CHECK(weight.grad().defined());
  }
}

TEST_CASE("more observations than the device keeps lose nothing", "[precision]") {
  NonFiniteGuard guard(nullptr, /*force_device_path=*/true);
  for (int step = 0; step < 10000; ++step) {
    guard.observe_loss(step == 17 ? scalar(kNan) : scalar(1.0), step);
  }
  const auto finding = guard.read();
  REQUIRE(finding.has_value());
  CHECK(finding->step == 17);
}

TEST_CASE("with loss scaling overflow is no finding until the scale is below 1", "[precision]") {
  for (const bool device_path : {false, true}) {
    for (const bool bad_loss : {true, false}) {
      CAPTURE(device_path, bad_loss);
      LossScaler scaler(at::Device(at::kCPU), {.init_scale = 4.0});
      NonFiniteGuard guard(&scaler, device_path);
      const std::vector<at::Tensor> bad = {torch::full({2}, kInf)};
      std::vector<int64_t> found_at;
      for (int step = 1; step <= 5; ++step) {
        guard.observe_loss(scalar(bad_loss ? kInf : 1.0), step);
        guard.observe_gradients(bad, step);
        scaler.unscale_(bad);
        scaler.update();  // 2, 1, 0.5, ...
        if (const auto finding = guard.read()) {
          found_at.push_back(finding->step);
          // Step 3 overflowed with a scale of 1; in step 4 the scale was 0.5.
          CHECK(finding->in_gradients);
        }
      }
      REQUIRE_FALSE(found_at.empty());
      CHECK(found_at.front() == 3);
    }
  }
}

TEST_CASE("with loss scaling a bad loss below a scale of 1 is a finding", "[precision]") {
  for (const bool device_path : {false, true}) {
    LossScaler scaler(at::Device(at::kCPU), {.init_scale = 0.5});
    NonFiniteGuard guard(&scaler, device_path);
    guard.observe_loss(scalar(kNan), 1);
    const auto finding = guard.read();
    REQUIRE(finding.has_value());
    CHECK_FALSE(finding->in_gradients);
  }
}
