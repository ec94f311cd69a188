/// The least a training loop can do with sample_li's autoencoder in LibTorch: no trainer, no
/// loader, no logging. The images are random numbers in memory, a batch is an index_select, and
/// the optimizer is the fused Adam kernel. The yardstick for what the framework costs.
///
///   bare_loop [--steps 20000] [--warmup 1000] [--samples 55000] [--batch_size 32] [--threads 1]
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <ATen/ops/_fused_adam.h>
#include <torch/torch.h>

namespace {

using Clock = std::chrono::steady_clock;

struct AutoEncoder : torch::nn::Module {
  AutoEncoder() {
    using torch::nn::Linear;
    using torch::nn::ReLU;
    using torch::nn::Sequential;
    encoder = register_module("encoder", Sequential(Linear(784, 64), ReLU(), Linear(64, 3)));
    decoder = register_module("decoder", Sequential(Linear(3, 64), ReLU(), Linear(64, 784)));
  }

  torch::nn::Sequential encoder{nullptr};
  torch::nn::Sequential decoder{nullptr};
};

/// at::_fused_adam_ with lr 1e-3 and PyTorch's defaults.
class FusedAdam {
 public:
  explicit FusedAdam(std::vector<at::Tensor> parameters) : parameters_(std::move(parameters)) {
    for (const at::Tensor& parameter : parameters_) {
      mean_.push_back(torch::zeros_like(parameter));
      square_.push_back(torch::zeros_like(parameter));
      steps_.push_back(torch::zeros({}, torch::kFloat32));
    }
    gradients_.resize(parameters_.size());
  }

  /// Steps, then drops the gradients.
  void step() {
    torch::NoGradGuard no_grad;
    for (size_t i = 0; i < parameters_.size(); ++i) {
      gradients_[i] = parameters_[i].grad();
      parameters_[i].mutable_grad().reset();
      steps_[i].add_(1);
    }
    at::_fused_adam_(parameters_, gradients_, mean_, square_, /*max_exp_avg_sqs=*/{}, steps_,
                     /*lr=*/1e-3, /*beta1=*/0.9, /*beta2=*/0.999, /*weight_decay=*/0.0,
                     /*eps=*/1e-8, /*amsgrad=*/false, /*maximize=*/false);
  }

 private:
  std::vector<at::Tensor> parameters_;
  std::vector<at::Tensor> gradients_;
  std::vector<at::Tensor> mean_;
  std::vector<at::Tensor> square_;
  std::vector<at::Tensor> steps_;
};

/// Trains for the given number of steps; returns the last loss.
double train(AutoEncoder& model, FusedAdam& optimizer, const at::Tensor& images, int64_t steps,
             int64_t batch_size) {
  const int64_t samples = images.size(0);
  at::Tensor order;
  at::Tensor loss;
  int64_t position = samples;
  for (int64_t step = 0; step < steps; ++step) {
    if (position >= samples) {
      order = torch::randperm(samples);
      position = 0;
    }
    const int64_t end = std::min(position + batch_size, samples);
    const at::Tensor batch = images.index_select(0, order.slice(0, position, end));
    position = end;
    loss = torch::mse_loss(model.decoder->forward(model.encoder->forward(batch)), batch);
    loss.backward();
    optimizer.step();
  }
  return loss.item<double>();
}

std::map<std::string, int64_t> parse(int argc, char** argv) {
  std::map<std::string, int64_t> values{{"--steps", 20000},
                                        {"--warmup", 1000},
                                        {"--samples", 55000},
                                        {"--batch_size", 32},
                                        {"--threads", 1}};
  for (int i = 1; i < argc; i += 2) {
    const auto found = values.find(argv[i]);
    const int64_t value = i + 1 < argc ? std::atoll(argv[i + 1]) : 0;
    if (found == values.end() || value < 1) {
      std::fprintf(stderr, "bare_loop: bad argument %s, expected one of", argv[i]);
      for (const auto& [name, unused] : values) std::fprintf(stderr, " %s N", name.c_str());
      std::fprintf(stderr, " with N >= 1\n");
      std::exit(2);
    }
    found->second = value;
  }
  return values;
}

}  // namespace

int main(int argc, char** argv) {
  const auto values = parse(argc, argv);
  at::set_num_threads(static_cast<int>(values.at("--threads")));
  torch::manual_seed(1);
  auto model = std::make_shared<AutoEncoder>();
  FusedAdam optimizer(model->parameters());
  const at::Tensor images = torch::rand({values.at("--samples"), 784});

  const int64_t batch_size = values.at("--batch_size");
  const int64_t steps = values.at("--steps");
  train(*model, optimizer, images, values.at("--warmup"), batch_size);
  const auto begin = Clock::now();
  const double loss = train(*model, optimizer, images, steps, batch_size);
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  std::printf("%.2f steps/s (%.1f us a step, %lld steps, last loss %.5f)\n", steps / seconds,
              1e6 * seconds / steps, static_cast<long long>(steps), loss);
  return 0;
}
