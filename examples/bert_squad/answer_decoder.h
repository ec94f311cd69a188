/// AnswerDecoder: from the scores of each window's tokens to one answer per question. The windows
/// of a question may be decoded on several ranks, whose decoders are then merged.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <lightning/util/state_dict.h>

#include "squad_features.h"
#include "squad_metric.h"

namespace bert_squad {

struct DecoderOptions {
  /// First and last tokens that are combined, the best ones of each.
  int64_t n_best = 20;
  /// In tokens.
  int64_t max_answer_length = 30;
};

/// A possible answer.
struct AnswerSpan {
  float start_logit = 0.0F;
  float end_logit = 0.0F;
  Offset characters = {};  // code points into the context; empty for "no answer"
  int64_t window = 0;      // row of the feature: the earlier one wins a tie

  double score() const { return static_cast<double>(start_logit) + static_cast<double>(end_logit); }
};

/// One of a question's n best answers.
struct RankedAnswer {
  std::string text;    // "" for "no answer"
  double probability;  // softmax of the scores over the question's list
  float start_logit;
  float end_logit;
};

/// Collects windows in any order, keeps the n best spans of each question over all its windows.
class AnswerDecoder {
 public:
  explicit AnswerDecoder(DecoderOptions options) : options_(options) {}

  /// Scores of the feature's tokens, at least feature.length() each.
  void add(const std::shared_ptr<const SquadFeatures>& features, int64_t row,
           std::span<const float> start, std::span<const float> end);
  bool empty() const { return questions_.empty(); }
  void clear();
  /// Of the file, whether seen or not; 0 while empty().
  int64_t num_questions() const { return static_cast<int64_t>(questions_.size()); }

  /// The `num_spans` best spans and the score of "no answer" of each question seen among
  /// [begin, end), for the other ranks. At most n_best spans are there.
  lightning::StateDict state_dict(int64_t num_spans = 1, int64_t begin = 0,
                                  int64_t end = std::numeric_limits<int64_t>::max()) const;
  /// Adds what another rank found in other windows of the same questions; in any order,
  /// best_spans() is then what one decoder of all windows gives, and ranked_answers() too when
  /// n_best spans were sent. Throws lightning::DataError when the ranks' questions are not the
  /// same.
  void merge(const lightning::StateDict& state);
  /// Whether windows were added here, which bring texts and questions along: else data() and
  /// best_spans() must not be called.
  bool has_data() const { return features_ != nullptr; }

  /// The best span of each question and, as no_answer_score, how much better the score of "no
  /// answer" is. The text is the best span's, whatever that score is.
  Predictions best_spans() const;
  bool seen(int64_t question) const { return questions_[static_cast<size_t>(question)].seen; }
  /// The best span of one question that was seen, as in best_spans(). Without any span the text is
  /// empty and no_answer_score that of "no answer" alone (a span's counts as 0), or NaN where the
  /// passage's scores are all NaN.
  Prediction best_span(int64_t question) const;
  /// The n best spans of a question, best first.
  const std::vector<AnswerSpan>& spans(int64_t question) const;
  /// The n best answers of a question, best first, as transformers' postprocess_qa_predictions()
  /// lists them: a text that two windows share is there twice, and with `with_no_answer` so is "no
  /// answer", at the end (as one more) when it isn't among the n best. A question without any
  /// answer gets one with an empty text and scores of 0; where the passage's scores are all NaN,
  /// with a probability of 0 and scores of NaN.
  std::vector<RankedAnswer> ranked_answers(int64_t question, bool with_no_answer) const;
  const SquadData& data() const { return features_->data; }

 private:
  struct Question {
    bool seen = false;
    // A window whose passage has no score that is a number.
    bool has_no_numbers = false;
    AnswerSpan no_answer;  // of the window where its score is lowest
    std::vector<AnswerSpan> best;
  };
  /// Whether there is no span because the scores are no numbers: a model that diverged.
  static bool has_diverged(const Question& question) {
    return question.best.empty() && question.has_no_numbers;
  }
  static void add_no_answer(Question& question, const AnswerSpan& no_answer);
  std::string text_of(int64_t question, const AnswerSpan& span) const;
  void keep_best(Question& question) const;

  DecoderOptions options_;
  std::shared_ptr<const SquadFeatures> features_;
  std::vector<Question> questions_;
};

}  // namespace bert_squad
