#include <lightning/metrics/squad.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

#include <lightning/metrics/python_text.h>

namespace lightning::metrics {

double exact_match_score(std::string_view prediction, std::string_view answer) {
  return normalize_answer(prediction) == normalize_answer(answer) ? 1.0 : 0.0;
}

double word_f1_score(std::string_view prediction, std::string_view answer) {
  std::vector<std::string> words = python_split(normalize_answer(prediction));
  std::vector<std::string> wanted = python_split(normalize_answer(answer));
  if (words.empty() || wanted.empty()) return words == wanted ? 1.0 : 0.0;
  std::sort(words.begin(), words.end());
  std::sort(wanted.begin(), wanted.end());
  std::vector<std::string> common;
  std::set_intersection(words.begin(), words.end(), wanted.begin(), wanted.end(),
                        std::back_inserter(common));
  if (common.empty()) return 0.0;
  const auto num_common = static_cast<double>(common.size());
  const double precision = num_common / static_cast<double>(words.size());
  const double recall = num_common / static_cast<double>(wanted.size());
  return 2.0 * precision * recall / (precision + recall);
}

SQuAD::SQuAD(std::string name, std::string sum_name)
    : Metric(std::move(name)), sum_name_(std::move(sum_name)) {
  add_state(sum_name_, StateReduceFx::kSum, {}, at::kDouble);
  add_state("total", StateReduceFx::kSum, {}, at::kLong);
}

void SQuAD::update(std::string_view prediction, const std::vector<std::string>& answers) {
  double best = answers.empty() ? score(prediction, "") : 0.0;
  for (const std::string& answer : answers) best = std::max(best, score(prediction, answer));
  const UpdateScope scope(*this, at::scalar_tensor(best, at::TensorOptions(at::kDouble)));
  state(sum_name_) += best;
  state("total") += 1;
}

at::Tensor SQuAD::do_compute() const { return 100.0 * state(sum_name_) / state("total"); }

double SQuADExactMatch::score(std::string_view prediction, std::string_view answer) const {
  return exact_match_score(prediction, answer);
}

double SQuADF1::score(std::string_view prediction, std::string_view answer) const {
  return word_f1_score(prediction, answer);
}

}  // namespace lightning::metrics
