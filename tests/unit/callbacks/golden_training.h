/// Weights and data that both libraries make alike, for comparisons with
/// tests/golden/callbacks/record_training_callbacks.py.
#pragma once

#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include <torch/torch.h>
#include <catch2/catch.hpp>

#include <lightning/data/data_loader.h>
#include <lightning/data/dataset.h>

namespace lightning_tests {

/// Sets the i-th parameter to sin(i), sin(i + 1), ...
inline void fill_with_sines(torch::nn::Module& module) {
  const at::NoGradGuard no_grad;
  int64_t first = 1;
  for (at::Tensor& parameter : module.parameters()) {
    const at::Tensor values = at::arange(parameter.numel(), at::kLong).add(first++);
    parameter.copy_(values.to(at::kDouble).sin().view_as(parameter));
  }
}

/// All parameters, one after the other.
inline at::Tensor weights_of(const torch::nn::Module& module) {
  std::vector<at::Tensor> all;
  for (const at::Tensor& parameter : module.parameters()) {
    all.push_back(parameter.detach().flatten());
  }
  return at::cat(all).clone();
}

/// `samples` rows of x [2] in float64, in batches of 2.
inline std::shared_ptr<lightning::DataLoader> cosine_loader(int64_t samples) {
  const at::Tensor x =
      at::arange(2 * samples, at::kLong).to(at::kDouble).mul(0.7).cos().view({samples, 2});
  return std::make_shared<lightning::DataLoader>(
      std::make_shared<lightning::TensorDataset>(lightning::Batch({{"x", x}})),
      lightning::DataLoaderOptions{.batch_size = 2});
}

/// The numbers of each line.
inline std::vector<std::vector<double>> numbers_of_lines(const std::string& path) {
  std::ifstream file(path);
  REQUIRE(file);
  std::vector<std::vector<double>> lines;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    auto& numbers = lines.emplace_back();
    for (double number = 0.0; words >> number;) numbers.push_back(number);
  }
  return lines;
}

}  // namespace lightning_tests
