#include "squad_metric.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include <lightning/metrics/python_text.h>
#include <lightning/metrics/squad.h>

namespace bert_squad {
namespace {

namespace metrics = lightning::metrics;

struct Scored {
  const SquadQuestion* question;
  const Prediction* prediction;
  bool has_answer;
  double exact;
  double f1;
};

/// The texts an answer is compared with: those that aren't empty after normalization, else "".
std::vector<std::string> gold_answers(const SquadQuestion& question) {
  std::vector<std::string> gold;
  for (const SquadAnswer& answer : question.answers) {
    if (!metrics::normalize_answer(answer.text).empty()) gold.push_back(answer.text);
  }
  if (gold.empty()) gold.emplace_back();
  return gold;
}

Scored score_question(const SquadQuestion& question, const Prediction& prediction) {
  Scored scored{&question, &prediction, !question.answers.empty(), 0.0, 0.0};
  for (const std::string& gold : gold_answers(question)) {
    scored.exact = std::max(scored.exact, metrics::exact_match_score(prediction.text, gold));
    scored.f1 = std::max(scored.f1, metrics::word_f1_score(prediction.text, gold));
  }
  return scored;
}

double percent_of(const std::vector<Scored>& scored,
                  const std::function<bool(const Scored&)>& counts,
                  const std::function<double(const Scored&)>& value) {
  double sum = 0.0;
  int64_t total = 0;
  for (const Scored& one : scored) {
    if (!counts(one)) continue;
    sum += value(one);
    ++total;
  }
  return total == 0 ? 0.0 : 100.0 * sum / static_cast<double>(total);
}

/// Goes through the questions from the surest answer down and keeps the best running score.
void find_best_threshold(const std::vector<Scored>& scored,
                         const std::function<double(const Scored&)>& value, double& best_score,
                         double& best_threshold) {
  double current = 0.0;
  for (const Scored& one : scored) current += one.has_answer ? 0.0 : 1.0;
  double best = current;
  best_threshold = 0.0;
  std::vector<const Scored*> order;
  for (const Scored& one : scored) order.push_back(&one);
  // A score that is no number (a model that diverged) is the least sure.
  const auto key = [](const Scored* one) {
    const double score = one->prediction->no_answer_score;
    return std::isnan(score) ? std::numeric_limits<double>::infinity() : score;
  };
  std::stable_sort(order.begin(), order.end(),
                   [&](const Scored* a, const Scored* b) { return key(a) < key(b); });
  for (const Scored* one : order) {
    if (one->has_answer) {
      current += value(*one);
    } else if (!one->prediction->text.empty()) {
      current -= 1.0;
    }
    if (current > best) {
      best = current;
      best_threshold = key(one);
    }
  }
  best_score = scored.empty() ? 0.0 : 100.0 * best / static_cast<double>(scored.size());
}

}  // namespace

SquadScores evaluate_squad(const SquadData& data, const Predictions& predictions,
                           double threshold) {
  std::vector<Scored> raw;
  for (const SquadQuestion& question : data.questions) {
    const auto found = predictions.find(question.id);
    if (found != predictions.end()) raw.push_back(score_question(question, found->second));
  }
  std::vector<Scored> scored = raw;
  for (Scored& one : scored) {
    if (!(one.prediction->no_answer_score > threshold)) continue;
    one.exact = one.f1 = one.has_answer ? 0.0 : 1.0;
  }
  const auto all = [](const Scored&) { return true; };
  const auto has_answer = [](const Scored& one) { return one.has_answer; };
  const auto has_none = [](const Scored& one) { return !one.has_answer; };
  const auto exact = [](const Scored& one) { return one.exact; };
  const auto f1 = [](const Scored& one) { return one.f1; };

  SquadScores scores;
  scores.total = static_cast<int64_t>(scored.size());
  scores.has_ans_total = std::count_if(scored.begin(), scored.end(), has_answer);
  scores.no_ans_total = scores.total - scores.has_ans_total;
  scores.exact = percent_of(scored, all, exact);
  scores.f1 = percent_of(scored, all, f1);
  scores.has_ans_exact = percent_of(scored, has_answer, exact);
  scores.has_ans_f1 = percent_of(scored, has_answer, f1);
  scores.no_ans_exact = percent_of(scored, has_none, exact);
  scores.no_ans_f1 = percent_of(scored, has_none, f1);
  find_best_threshold(raw, exact, scores.best_exact, scores.best_exact_threshold);
  find_best_threshold(raw, f1, scores.best_f1, scores.best_f1_threshold);
  return scores;
}

}  // namespace bert_squad
