/// The official SQuAD v2 metric: exact match and F1 over normalized answers, the answerable and the
/// unanswerable questions apart, and the best threshold on the no-answer score.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "squad_reader.h"

namespace bert_squad {

/// What was predicted for a question: an empty text means that there is no answer.
struct Prediction {
  std::string text;
  /// How sure it is that there is no answer; only the order matters.
  double no_answer_score = 0.0;
};
using Predictions = std::map<std::string, Prediction>;  // by question id

struct SquadScores {
  // Percent.
  double exact = 0.0;
  double f1 = 0.0;
  int64_t total = 0;
  double has_ans_exact = 0.0;
  double has_ans_f1 = 0.0;
  int64_t has_ans_total = 0;
  double no_ans_exact = 0.0;
  double no_ans_f1 = 0.0;
  int64_t no_ans_total = 0;
  // With answers dropped whose no_answer_score is above the threshold that suits best.
  double best_exact = 0.0;
  double best_exact_threshold = 0.0;
  double best_f1 = 0.0;
  double best_f1_threshold = 0.0;
};

/// Questions without a prediction are left out, as the official script does.
/// `threshold`: answers with a no_answer_score above it count as "no answer".
SquadScores evaluate_squad(const SquadData& data, const Predictions& predictions, double threshold);

}  // namespace bert_squad
