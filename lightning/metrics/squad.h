/// Exact match and F1 of answers to questions, as the official SQuAD script and torchmetrics' SQuAD
/// define them, over texts.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <ATen/core/Tensor.h>

#include <lightning/metrics/metric.h>
#include <lightning/util/export.h>

namespace lightning::metrics {

/// 1 when equal after normalize_answer(), else 0.
LIGHTNING_API double exact_match_score(std::string_view prediction, std::string_view answer);
/// F1 of the words that normalize_answer() leaves, 0 to 1; of two texts without words 1.
LIGHTNING_API double word_f1_score(std::string_view prediction, std::string_view answer);

/// The mean over questions, in percent, of the score with the answer that suits best. Empty: NaN.
/// State, on the CPU: the sum, float64; "total", int64, the number of questions.
class LIGHTNING_API SQuAD : public Metric {
 public:
  /// One question. Without answers it is one that has none, which only a prediction without words
  /// answers. Throws DataError when a text isn't UTF-8.
  void update(std::string_view prediction, const std::vector<std::string>& answers);

 protected:
  SQuAD(std::string name, std::string sum_name);

 private:
  virtual double score(std::string_view prediction, std::string_view answer) const = 0;
  at::Tensor do_compute() const override;

  std::string sum_name_;
};

class LIGHTNING_API SQuADExactMatch final : public SQuAD {
 public:
  SQuADExactMatch() : SQuAD("SQuADExactMatch", "exact_match") {}

 private:
  double score(std::string_view prediction, std::string_view answer) const override;
};

class LIGHTNING_API SQuADF1 final : public SQuAD {
 public:
  SQuADF1() : SQuAD("SQuADF1", "f1_score") {}

 private:
  double score(std::string_view prediction, std::string_view answer) const override;
};

}  // namespace lightning::metrics
