/// What the tests of checkpoints share.
#pragma once

#include <cstring>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include <torch/types.h>

#include <lightning/checkpoint/checkpoint.h>

namespace lightning_tests {

/// A checkpoint of every kind of value at a step; `weight` and `head` are tied.
inline lightning::Checkpoint make_checkpoint(int64_t step) {
  lightning::Checkpoint checkpoint;
  const at::Tensor weight = torch::full({3, 4}, static_cast<double>(step));
  checkpoint.model = {{"weight", weight},
                      {"bias", torch::arange(5.0, torch::kBFloat16)},
                      {"head", weight},
                      {"running_mean", torch::ones({2}, torch::kFloat64)}};
  lightning::StateDict& state = checkpoint.state;
  state.set("loop/global_step", step);
  state.set("optimizer/0/exp_avg", torch::full({3, 4}, 0.5));
  state.set("optimizer/0/lr", 0.1);
  state.set("callbacks/best", std::string("epoch=1.ckpt"));
  state.set("callbacks/stopped", true);
  state.set("rng", torch::arange(16, torch::kUInt8));
  checkpoint.config = "model:\n  width: 4\n";
  checkpoint.assets = {{"vocab.txt", "[PAD]\n[CLS]\n"}, {"tables/a.json", "{}"}};
  return checkpoint;
}

inline bool same_tensor(const at::Tensor& a, const at::Tensor& b) {
  return a.scalar_type() == b.scalar_type() && a.sizes() == b.sizes() &&
         a.contiguous()
             .view(-1)
             .view(torch::kUInt8)
             .equal(b.contiguous().view(-1).view(torch::kUInt8));
}

/// Bit for bit, so that NaN equals NaN and 0.0 isn't -0.0.
inline bool same_value(const lightning::StateDict::Value& a, const lightning::StateDict::Value& b) {
  if (a.index() != b.index()) return false;
  if (const auto* tensor = std::get_if<at::Tensor>(&a)) {
    return same_tensor(*tensor, std::get<at::Tensor>(b));
  }
  const auto same_doubles = [](const double* x, const double* y, size_t count) {
    return count == 0 || std::memcmp(x, y, count * sizeof(double)) == 0;
  };
  if (const auto* number = std::get_if<double>(&a)) {
    return same_doubles(number, &std::get<double>(b), 1);
  }
  if (const auto* list = std::get_if<std::vector<double>>(&a)) {
    const auto& other = std::get<std::vector<double>>(b);
    return list->size() == other.size() && same_doubles(list->data(), other.data(), list->size());
  }
  return std::visit(
      [&](const auto& value) {
        using T = std::decay_t<decltype(value)>;
        if constexpr (std::is_same_v<T, at::Tensor>)
          return false;
        else
          return value == std::get<T>(b);
      },
      a);
}

inline bool same_state(const lightning::StateDict& a, const lightning::StateDict& b) {
  if (a.entries().size() != b.entries().size()) return false;
  for (size_t i = 0; i < a.entries().size(); ++i) {
    if (a.entries()[i].first != b.entries()[i].first ||
        !same_value(a.entries()[i].second, b.entries()[i].second)) {
      return false;
    }
  }
  return true;
}

inline at::Tensor find(const lightning::Checkpoint::NamedTensors& tensors,
                       const std::string& name) {
  for (const auto& [key, tensor] : tensors) {
    if (key == name) return tensor;
  }
  return {};
}

/// Whether the checkpoint read is make_checkpoint(step).
inline bool holds_step(const lightning::Checkpoint& found, int64_t step) {
  const lightning::Checkpoint expected = make_checkpoint(step);
  for (const auto& [name, tensor] : expected.model) {
    const at::Tensor other = find(found.model, name);
    if (!other.defined() || !same_tensor(tensor, other)) return false;
  }
  auto assets = found.assets;
  std::sort(assets.begin(), assets.end());
  auto expected_assets = expected.assets;
  std::sort(expected_assets.begin(), expected_assets.end());
  return found.model.size() == expected.model.size() && same_state(found.state, expected.state) &&
         found.config == expected.config && assets == expected_assets;
}

inline std::vector<std::string> names_in(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

inline std::vector<std::string> listed(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  for (const auto& path : lightning::list_checkpoints(folder)) {
    names.push_back(path.filename().string());
  }
  return names;
}

}  // namespace lightning_tests
