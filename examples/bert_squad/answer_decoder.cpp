#include "answer_decoder.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include <lightning/util/error.h>

#include "utf8.h"

namespace bert_squad {
namespace {

/// The tokens of [begin, end) with the highest scores, best first.
std::vector<int64_t> best_tokens(std::span<const float> scores, int64_t begin, int64_t end,
                                 int64_t count) {
  std::vector<int64_t> tokens(static_cast<size_t>(end - begin));
  std::iota(tokens.begin(), tokens.end(), begin);
  // A model that diverged gives none at all.
  std::erase_if(tokens,
                [&](int64_t token) { return std::isnan(scores[static_cast<size_t>(token)]); });
  const auto kept = std::min(count, static_cast<int64_t>(tokens.size()));
  // The lower token wins a tie, so that the result doesn't depend on the sort.
  std::partial_sort(tokens.begin(), tokens.begin() + kept, tokens.end(), [&](int64_t a, int64_t b) {
    const float sa = scores[static_cast<size_t>(a)];
    const float sb = scores[static_cast<size_t>(b)];
    return sa != sb ? sa > sb : a < b;
  });
  tokens.resize(static_cast<size_t>(kept));
  return tokens;
}

}  // namespace

void AnswerDecoder::clear() {
  features_.reset();
  questions_.clear();
}

void AnswerDecoder::add(const std::shared_ptr<const SquadFeatures>& features, int64_t row,
                        std::span<const float> start, std::span<const float> end) {
  features_ = features;
  questions_.resize(features->data.questions.size());
  const Feature& feature = features->features[static_cast<size_t>(row)];
  Question& question = questions_[static_cast<size_t>(feature.question)];

  // Token 0 is [CLS]: its score is that of an answer outside this window.
  add_no_answer(question, {start[0], end[0], {}, row});

  const auto firsts =
      best_tokens(start, feature.context_begin, feature.context_end, options_.n_best);
  const auto lasts = best_tokens(end, feature.context_begin, feature.context_end, options_.n_best);
  const bool has_passage = feature.context_end > feature.context_begin;
  if (has_passage && (firsts.empty() || lasts.empty())) question.has_no_numbers = true;
  for (const int64_t first : firsts) {
    for (const int64_t last : lasts) {
      if (last < first || last - first + 1 > options_.max_answer_length) continue;
      const auto offset = [&](int64_t token) {
        return feature.offsets[static_cast<size_t>(token - feature.context_begin)];
      };
      question.best.push_back({start[static_cast<size_t>(first)],
                               end[static_cast<size_t>(last)],
                               {offset(first).begin, offset(last).end},
                               row});
    }
  }
  keep_best(question);
}

// The lowest of those that are numbers, whatever the order.
void AnswerDecoder::add_no_answer(Question& question, const AnswerSpan& no_answer) {
  const double score = no_answer.score();
  const double lowest = question.no_answer.score();
  const bool earlier = score == lowest && no_answer.window < question.no_answer.window;
  if (!question.seen || std::isnan(lowest) || score < lowest || earlier) {
    question.no_answer = no_answer;
  }
  question.seen = true;
}

void AnswerDecoder::keep_best(Question& question) const {
  std::stable_sort(question.best.begin(), question.best.end(),
                   [](const AnswerSpan& a, const AnswerSpan& b) {
                     return a.score() != b.score() ? a.score() > b.score() : a.window < b.window;
                   });
  if (static_cast<int64_t>(question.best.size()) > options_.n_best) {
    question.best.resize(static_cast<size_t>(options_.n_best));
  }
}

// Of each question "no answer" and then its spans, as many as `counts` says. Doubles hold the
// float32 scores exactly.
lightning::StateDict AnswerDecoder::state_dict(int64_t num_spans, int64_t begin,
                                               int64_t end) const {
  std::vector<int64_t> questions, counts, windows, begins, ends, without_numbers;
  std::vector<double> start_logits, end_logits;
  const auto add_span = [&](const AnswerSpan& span) {
    start_logits.push_back(static_cast<double>(span.start_logit));
    end_logits.push_back(static_cast<double>(span.end_logit));
    windows.push_back(span.window);
    begins.push_back(span.characters.begin);
    ends.push_back(span.characters.end);
  };
  for (int64_t i = begin; i < std::min(end, num_questions()); ++i) {
    const Question& question = questions_[static_cast<size_t>(i)];
    if (!question.seen) continue;
    const auto count = std::min(num_spans, static_cast<int64_t>(question.best.size()));
    questions.push_back(i);
    counts.push_back(count);
    without_numbers.push_back(question.has_no_numbers ? 1 : 0);
    add_span(question.no_answer);
    for (int64_t span = 0; span < count; ++span) add_span(question.best[static_cast<size_t>(span)]);
  }
  lightning::StateDict state;
  state.set("num_questions", questions_.size());
  state.set("questions", std::move(questions));
  state.set("counts", std::move(counts));
  state.set("without_numbers", std::move(without_numbers));
  state.set("start_logits", std::move(start_logits));
  state.set("end_logits", std::move(end_logits));
  state.set("windows", std::move(windows));
  state.set("begins", std::move(begins));
  state.set("ends", std::move(ends));
  return state;
}

void AnswerDecoder::merge(const lightning::StateDict& state) {
  const auto& questions = state.get<std::vector<int64_t>>("questions");
  if (questions.empty()) return;
  const auto count = static_cast<size_t>(state.get<int64_t>("num_questions"));
  if (empty()) questions_.resize(count);
  LIGHTNING_CHECK(count == questions_.size(), DataError,
                  "AnswerDecoder: a different rank evaluates ", count, " questions, this one ",
                  questions_.size(), ", the same were expected. HINT: give all ranks one file.");
  const auto& counts = state.get<std::vector<int64_t>>("counts");
  const auto& without_numbers = state.get<std::vector<int64_t>>("without_numbers");
  const auto& start_logits = state.get<std::vector<double>>("start_logits");
  const auto& end_logits = state.get<std::vector<double>>("end_logits");
  const auto& windows = state.get<std::vector<int64_t>>("windows");
  const auto& begins = state.get<std::vector<int64_t>>("begins");
  const auto& ends = state.get<std::vector<int64_t>>("ends");
  size_t next = 0;
  const auto take_span = [&] {
    const size_t i = next++;
    return AnswerSpan{static_cast<float>(start_logits.at(i)),
                      static_cast<float>(end_logits.at(i)),
                      {static_cast<int32_t>(begins.at(i)), static_cast<int32_t>(ends.at(i))},
                      windows.at(i)};
  };
  for (size_t i = 0; i < questions.size(); ++i) {
    Question& question = questions_.at(static_cast<size_t>(questions[i]));
    add_no_answer(question, take_span());
    if (without_numbers.at(i) != 0) question.has_no_numbers = true;
    for (int64_t span = 0; span < counts.at(i); ++span) question.best.push_back(take_span());
    keep_best(question);
  }
}

std::string AnswerDecoder::text_of(int64_t question, const AnswerSpan& span) const {
  const SquadQuestion& asked = data().questions[static_cast<size_t>(question)];
  return std::string(substr_code_points(data().contexts[static_cast<size_t>(asked.context)],
                                        span.characters.begin, span.characters.end));
}

Prediction AnswerDecoder::best_span(int64_t question) const {
  const Question& found = questions_[static_cast<size_t>(question)];
  if (has_diverged(found)) return {"", std::numeric_limits<double>::quiet_NaN()};
  if (found.best.empty()) return {"", found.no_answer.score()};
  const AnswerSpan& best = found.best.front();
  return {text_of(question, best), found.no_answer.score() - best.score()};
}

Predictions AnswerDecoder::best_spans() const {
  Predictions predictions;
  for (int64_t i = 0; i < num_questions(); ++i) {
    if (seen(i)) predictions.emplace(data().questions[static_cast<size_t>(i)].id, best_span(i));
  }
  return predictions;
}

std::vector<RankedAnswer> AnswerDecoder::ranked_answers(int64_t question,
                                                        bool with_no_answer) const {
  const Question& found = questions_[static_cast<size_t>(question)];
  if (has_diverged(found)) {
    constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
    return {{"", 0.0, kNaN, kNaN}};
  }
  std::vector<AnswerSpan> spans = found.best;
  if (with_no_answer) {
    const auto better = [&](const AnswerSpan& span) {
      return !(span.score() < found.no_answer.score());
    };
    const auto place = std::find_if_not(spans.begin(), spans.end(), better);
    const bool among_the_best = std::distance(spans.begin(), place) < options_.n_best;
    spans.insert(place, found.no_answer);
    if (among_the_best && std::ssize(spans) > options_.n_best) spans.pop_back();
  }
  if (spans.empty()) spans.emplace_back();

  double highest = -std::numeric_limits<double>::infinity();
  for (const AnswerSpan& span : spans) highest = std::max(highest, span.score());
  // Scores that are no numbers (a model that diverged) weigh nothing.
  const auto weight = [&](const AnswerSpan& span) {
    if (std::isnan(span.score())) return 0.0;
    return span.score() == highest ? 1.0 : std::exp(span.score() - highest);
  };
  double sum = 0.0;
  for (const AnswerSpan& span : spans) sum += weight(span);
  std::vector<RankedAnswer> answers;
  answers.reserve(spans.size());
  for (const AnswerSpan& span : spans) {
    answers.push_back({text_of(question, span), sum > 0.0 ? weight(span) / sum : 0.0,
                       span.start_logit, span.end_logit});
  }
  return answers;
}

const std::vector<AnswerSpan>& AnswerDecoder::spans(int64_t question) const {
  return questions_[static_cast<size_t>(question)].best;
}

}  // namespace bert_squad
