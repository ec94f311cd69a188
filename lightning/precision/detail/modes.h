/// The precisions that the library has.
#pragma once

#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include <lightning/config/fields.h>
#include <lightning/precision/detail/loss_scaler.h>
#include <lightning/precision/precision.h>
#include <lightning/util/export.h>

namespace lightning {

/// float32 throughout.
class LIGHTNING_API Float32Precision final : public Precision {
 public:
  explicit Float32Precision(at::Device device) : Precision(device) {}
  std::string_view name() const override { return "32-true"; }
};

/// Floating-point weights, buffers and inputs of one dtype; integers stay as they are. No loss
/// scaling. The default dtype is left alone: it is the process's, and the threads of the loaders
/// make tensors while a step runs.
class LIGHTNING_API TruePrecision : public Precision {
 public:
  std::string_view name() const override { return name_; }

 protected:
  /// `name`: a literal.
  TruePrecision(at::Device device, std::string_view name, at::ScalarType dtype)
      : Precision(device), name_(name), dtype_(dtype) {}

 private:
  void do_convert_module(torch::nn::Module& module) const override;
  Batch do_convert_batch(Batch batch) const override { return batch.to(dtype_); }

  std::string_view name_;
  at::ScalarType dtype_;
};

class LIGHTNING_API Float64Precision final : public TruePrecision {
 public:
  explicit Float64Precision(at::Device device) : TruePrecision(device, "64-true", at::kDouble) {}
};

class LIGHTNING_API BFloat16TruePrecision final : public TruePrecision {
 public:
  explicit BFloat16TruePrecision(at::Device device)
      : TruePrecision(device, "bf16-true", at::kBFloat16) {}
};

class LIGHTNING_API Float16TruePrecision final : public TruePrecision {
 public:
  explicit Float16TruePrecision(at::Device device) : TruePrecision(device, "16-true", at::kHalf) {}
};

/// float32 weights, bfloat16 where it is safe.
class LIGHTNING_API BFloat16MixedPrecision final : public Precision {
 public:
  explicit BFloat16MixedPrecision(at::Device device) : Precision(device) {}
  std::string_view name() const override { return "bf16-mixed"; }

 private:
  std::unique_ptr<ForwardContext> do_forward_context() const override;
  void do_step(torch::optim::Optimizer& optimizer) override;
};

struct Float16MixedOptions {
  LossScalerOptions loss_scaler = {};
  /// Stay with float16 on the CPU, where it is some 45 times slower than bfloat16.
  bool force_float16 = false;
};
LIGHTNING_FIELDS(Float16MixedOptions,
                 LIGHTNING_FIELD(loss_scaler, "how the loss scale follows overflows"),
                 LIGHTNING_FIELD(force_float16, "stay with float16 on the CPU"))

/// float32 weights, float16 where it is safe, with loss scaling. On the CPU, unless it is forced:
/// bf16-mixed, with one warning.
class LIGHTNING_API Float16MixedPrecision final : public Precision {
 public:
  explicit Float16MixedPrecision(at::Device device, const Float16MixedOptions& options = {});

  std::string_view name() const override { return scaler_ ? "16-mixed" : "bf16-mixed"; }
  const LossScaler* loss_scaler() const override { return scaler_ ? &*scaler_ : nullptr; }
  StateDict state_dict() const override;
  void load_state_dict(const StateDict& state) override;

 private:
  std::unique_ptr<ForwardContext> do_forward_context() const override;
  at::Tensor do_scale_loss(const at::Tensor& loss) const override;
  bool do_scales_loss() const override { return scaler_.has_value(); }
  at::Tensor do_unscale(const std::vector<at::Tensor>& gradients,
                        const at::Tensor& divisor) override;
  void do_step(torch::optim::Optimizer& optimizer) override;
  void do_end_window() override;

  std::optional<LossScaler> scaler_;
};

}  // namespace lightning
