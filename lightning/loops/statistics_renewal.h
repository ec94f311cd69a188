/// StatisticsRenewal: the running statistics of a module's BatchNorm layers, while an epoch without
/// training gives them anew after the weights were replaced by others.
#pragma once

#include <functional>
#include <optional>
#include <vector>

namespace torch::nn {
class Module;
}

namespace lightning {

class StatisticsRenewal {
 public:
  /// The module must outlive this.
  explicit StatisticsRenewal(torch::nn::Module& module) : module_(module) {}
  ~StatisticsRenewal() { end(); }
  StatisticsRenewal(const StatisticsRenewal&) = delete;
  StatisticsRenewal& operator=(const StatisticsRenewal&) = delete;

  /// Whether there are BatchNorm layers that track statistics.
  bool has_layers() const;
  /// From here on the statistics are the means over the batches that the layers see in training
  /// mode; over those since `anew`, which forgets the statistics so far. Layers in evaluation mode,
  /// and those with a momentum of 0, keep theirs.
  void begin(bool anew);
  /// The layers have their own momentum again.
  void end();

 private:
  torch::nn::Module& module_;
  std::vector<std::function<void()>> restore_momentum_;
};

}  // namespace lightning
