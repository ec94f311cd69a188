// One class for each door of the library, as docs/extending.md shows them.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <lightning/lightning.h>

/// What the classes have done in this process: main() fails when one of them had no part in a run.
inline std::set<std::string>& traces() {
  static std::set<std::string> all;
  return all;
}

// ---- a strategy

struct AveragingOptions {
  bool in_double = false;
};
LIGHTNING_FIELDS(AveragingOptions, LIGHTNING_FIELD(in_double, "average in float64"));

/// Averages gradients one by one, after the backward pass.
class Averaging final : public lightning::Strategy {
 public:
  Averaging(const lightning::StrategyContext& context, const AveragingOptions& options)
      : Strategy(context), options_(options) {}
  std::string_view name() const override { return "averaging"; }

 private:
  void do_setup(torch::nn::Module& module) override {
    module.to(root_device());
    parameters_ = module.parameters();
    if (world() == nullptr) return;
    for (const at::Tensor& parameter : parameters_) {
      at::Tensor values = parameter.detach();  // the same memory
      world()->group().broadcast(values);
    }
  }
  void do_backward(const RunBackward& run_backward, const at::Tensor& loss, bool last_in_window,
                   lightning::AccumulationWindow& window) override {
    traces().insert(options_.in_double ? "strategy" : "strategy without its init_args");
    if (loss.defined()) run_backward(loss);
    if (!last_in_window || world() == nullptr) return;
    const auto mean_over_ranks = [this](const at::Tensor& value) {
      at::Tensor sum = value.to(options_.in_double ? at::kDouble : at::kFloat, false, true);
      world()->group().all_reduce(sum);
      return sum / static_cast<double>(world_size());
    };
    for (at::Tensor& parameter : parameters_) {
      at::Tensor& gradient = parameter.mutable_grad();
      if (!gradient.defined()) gradient = torch::zeros_like(parameter);
      gradient.copy_(mean_over_ranks(gradient));
    }
    if (window.weight.defined()) window.weight = mean_over_ranks(window.weight);
    const at::Tensor has_data = torch::tensor(window.has_data ? 1.0 : 0.0);
    window.has_data = mean_over_ranks(has_data).item<double>() > 0.0;
  }

  AveragingOptions options_;
  std::vector<at::Tensor> parameters_;
};

// ---- a precision

/// float32, with inputs that have the precision of bfloat16.
class RoundedInputs final : public lightning::Precision {
 public:
  explicit RoundedInputs(at::Device device) : Precision(device) {}
  std::string_view name() const override { return "rounded"; }

 private:
  lightning::Batch do_convert_batch(lightning::Batch batch) const override {
    return batch.to(at::kBFloat16).to(at::kFloat);
  }
  void do_step(torch::optim::Optimizer& optimizer) override {
    step_optimizer(optimizer);
    traces().insert("precision");
  }
};

// ---- a cluster environment

/// Ranks of one machine that were started with PAIR_RANK, PAIR_SIZE and PAIR_PORT.
class Pair final : public lightning::ClusterEnvironment {
 public:
  std::string_view name() const override { return "pair"; }
  bool detect(const lightning::EnvironmentVariables& variables) const override {
    return variables.contains("PAIR_RANK");
  }
  lightning::Topology topology(const lightning::EnvironmentVariables& variables,
                               const lightning::TopologyRequest& /*request*/) const override {
    traces().insert("cluster");
    lightning::Topology topology;
    topology.world_size = topology.local_world_size = std::stoll(variables.at("PAIR_SIZE"));
    topology.global_rank = topology.local_rank = std::stoll(variables.at("PAIR_RANK"));
    topology.main_host = "127.0.0.1";
    topology.main_ports = {static_cast<uint16_t>(std::stoi(variables.at("PAIR_PORT")))};
    topology.run_id = "pair " + variables.at("PAIR_PORT");
    return topology;
  }
};

// ---- a logger

struct TextLoggerOptions {
  std::string file = "metrics.txt";
};
LIGHTNING_FIELDS(TextLoggerOptions, LIGHTNING_FIELD(file, "its name in the run's folder"));

/// A line per value.
class TextLogger final : public lightning::Logger {
 public:
  explicit TextLogger(const TextLoggerOptions& options) : options_(options) {}
  std::string_view name() const override { return "TextLogger"; }

 private:
  void do_setup(const lightning::LoggerSetup& setup) override {
    out_.open(setup.run_dir / options_.file, std::ios::app);
  }
  void do_log_metrics(const lightning::MetricRow& row) override {
    for (const auto& [name, value] : row.values) {
      out_ << row.step << " " << name << " " << value << "\n";
    }
    traces().insert("logger");
  }
  void do_flush() override { out_.flush(); }
  void do_finalize(std::string_view /*status*/) override { out_.close(); }

  TextLoggerOptions options_;
  std::ofstream out_;
};

// ---- a callback

/// Counts batches over all sessions of a run.
class BatchCounter final : public lightning::Callback {
 public:
  void on_train_batch_end(lightning::TrainerContext&, lightning::LightningModule&,
                          const lightning::StepOutput&, const lightning::Batch&, int64_t) override {
    ++batches_;
  }
  void on_fit_end(lightning::TrainerContext& trainer, lightning::LightningModule&) override {
    trainer.print("batches: " + std::to_string(batches_));
    traces().insert("callback");
  }
  std::string state_key() const override { return "BatchCounter"; }
  lightning::StateDict state_dict() const override {
    lightning::StateDict state;
    state.set("batches", batches_);
    return state;
  }
  void load_state_dict(const lightning::StateDict& state) override {
    batches_ = state.get<int64_t>("batches");
  }

 private:
  int64_t batches_ = 0;
};

// ---- an optimizer

struct SignSGDOptions {
  double lr = 1e-3;
};
LIGHTNING_FIELDS(SignSGDOptions, LIGHTNING_FIELD(lr, "length of a step"));

/// Goes by the signs of the gradients.
class SignSGD final : public torch::optim::Optimizer, public lightning::optim::StatefulOptimizer {
 public:
  SignSGD(std::vector<torch::optim::OptimizerParamGroup> groups, const SignSGDOptions& options)
      : Optimizer(std::move(groups), std::make_unique<torch::optim::SGDOptions>(options.lr)) {}

  at::Tensor step(LossClosure closure = nullptr) override {
    at::Tensor loss;
    if (closure != nullptr) loss = closure();
    const torch::NoGradGuard no_grad;
    for (auto& group : param_groups()) {
      for (at::Tensor& parameter : group.params()) {
        if (!parameter.grad().defined()) continue;
        parameter.sub_(parameter.grad().sign(), group.options().get_lr());
      }
    }
    ++steps_;
    traces().insert("optimizer");
    return loss;
  }

  lightning::StateDict state_dict(const lightning::optim::ParameterNames&) const override {
    lightning::StateDict state;
    state.set("steps", steps_);
    state.set("lr", param_groups().front().options().get_lr());
    return state;
  }
  void load_state_dict(const lightning::StateDict& state,
                       const lightning::optim::ParameterNames&) override {
    steps_ = state.get<int64_t>("steps");
    for (auto& group : param_groups()) group.options().set_lr(state.get<double>("lr"));
  }

 private:
  int64_t steps_ = 0;
};

// ---- an LR schedule

struct InverseLROptions {
  double decay = 0.1;
};
LIGHTNING_FIELDS(InverseLROptions, LIGHTNING_FIELD(decay, "how fast the rate falls"));

/// 1 / (1 + decay * step) of the base rates.
class InverseLR final : public lightning::optim::LRScheduler {
 public:
  InverseLR(const lightning::optim::LRSchedulerContext& context, const InverseLROptions& options)
      : LRScheduler(context.optimizer), decay_(options.decay) {
    apply();
  }
  bool counts_steps() const override { return true; }

 private:
  double factor(int64_t step, size_t /*group*/) const override {
    if (step > 0) traces().insert("lr_scheduler");
    return 1.0 / (1.0 + decay_ * static_cast<double>(step));
  }

  double decay_;
};

// ---- a profiler

/// Counts the actions of a run.
class ActionCounter final : public lightning::Profiler {
  std::string_view do_name() const override { return "ActionCounter"; }
  void do_start(int32_t /*action*/) override {
    ++actions_;
    traces().insert("profiler");
  }
  void do_stop(int32_t /*action*/) noexcept override {}
  std::string do_summary() const override { return "actions: " + std::to_string(actions_); }

  int64_t actions_ = 0;
};
