/// What the tests of callbacks that watch a metric have in common.
#pragma once

#include <cmath>
#include <istream>
#include <string>
#include <utility>
#include <vector>

#include "support/boring_module.h"

/// Its metric "score" is the step of the weights that were validated.
class ScoresSteps : public BoringModule {
 public:
  void validation_step(const lightning::Batch&, int64_t) override {
    log("score", static_cast<double>(global_step()));
  }
};

/// Its metric "score" has one value per epoch.
class ScriptedScore : public BoringModule {
 public:
  explicit ScriptedScore(std::vector<double> values) : values_(std::move(values)) {}
  void validation_step(const lightning::Batch&, int64_t) override {
    log("score", values_.at(static_cast<size_t>(current_epoch())));
  }

 private:
  std::vector<double> values_;
};

namespace lightning_tests {

/// Reads "| 1 2 nan |" and leaves the stream behind the second bar.
inline std::vector<double> numbers_between_bars(std::istream& words) {
  std::string word;
  words >> word;
  std::vector<double> numbers;
  while (words >> word && word != "|") numbers.push_back(std::stod(word));
  return numbers;
}

}  // namespace lightning_tests
