#include "squad_features.h"

#include <algorithm>
#include <string>
#include <utility>

#include <lightning/util/error.h>

#include "utf8.h"

namespace bert_squad {
namespace {

/// Code points [begin, end) of an answer in its context.
Offset span_of(const SquadAnswer& answer) {
  return {static_cast<int32_t>(answer.start),
          static_cast<int32_t>(answer.start + code_point_count(answer.text))};
}

/// How many tokens stay of two sequences that may have `room` together: the longer one is cut, both
/// to halves when the other is too long as well.
std::pair<int64_t, int64_t> cut_longest_first(int64_t first, int64_t second, int64_t room) {
  if (first + second <= room) return {first, second};
  const int64_t shorter = std::min({first, second, room / 2});
  return first > second ? std::pair(room - shorter, shorter) : std::pair(shorter, room - shorter);
}

class FeatureMaker {
 public:
  FeatureMaker(SquadFeatures& result, const WordPieceTokenizer& tokenizer,
               const FeatureOptions& options)
      : result_(result), tokenizer_(tokenizer), options_(options) {}

  void run() {
    const SquadData& data = result_.data;
    std::vector<std::string> questions;
    questions.reserve(data.questions.size());
    for (const SquadQuestion& question : data.questions) questions.push_back(question.question);
    contexts_ = tokenizer_.encode_all(data.contexts, options_.num_threads);
    questions_ = tokenizer_.encode_all(questions, options_.num_threads);
    for (size_t i = 0; i < data.questions.size(); ++i) {
      if (options_.layout == FeatureLayout::kWindows) {
        add_windows(static_cast<int64_t>(i));
      } else {
        add_context_first(static_cast<int64_t>(i));
      }
    }
  }

 private:
  const Encoding& context_of(int64_t question) const {
    const SquadQuestion& asked = result_.data.questions[static_cast<size_t>(question)];
    return contexts_[static_cast<size_t>(asked.context)];
  }

  static void note_cut(std::vector<CutText>& cut, int64_t question, int64_t num_tokens,
                       int64_t num_kept) {
    if (num_kept < num_tokens) cut.push_back({question, num_tokens, num_kept});
  }

  void add_windows(int64_t index) {
    std::vector<int32_t> asked = questions_[static_cast<size_t>(index)].ids;
    // A longer question would leave the context too little room for windows that overlap.
    const auto longest = static_cast<size_t>(
        std::min(options_.max_seq_length / 2, options_.max_seq_length - options_.doc_stride - 4));
    if (asked.size() > longest) {
      note_cut(result_.cut_questions, index, std::ssize(asked), static_cast<int64_t>(longest));
      asked.resize(longest);
    }
    const Encoding& context = context_of(index);
    const auto total = static_cast<int64_t>(context.ids.size());
    const int64_t room = options_.max_seq_length - static_cast<int64_t>(asked.size()) - 3;
    for (int64_t begin = 0;; begin += room - options_.doc_stride) {
      const int64_t end = std::min(begin + room, total);
      add_window(index, asked, context, begin, end);
      if (end == total) break;
    }
  }

  void add_window(int64_t index, const std::vector<int32_t>& asked, const Encoding& context,
                  int64_t begin, int64_t end) {
    Feature feature;
    feature.question = index;
    feature.ids.reserve(asked.size() + static_cast<size_t>(end - begin) + 3);
    feature.ids.push_back(tokenizer_.cls_id());
    feature.ids.insert(feature.ids.end(), asked.begin(), asked.end());
    feature.ids.push_back(tokenizer_.sep_id());
    feature.second_begin = feature.context_begin = static_cast<int32_t>(feature.ids.size());
    feature.ids.insert(feature.ids.end(), context.ids.begin() + begin, context.ids.begin() + end);
    feature.context_end = static_cast<int32_t>(feature.ids.size());
    feature.ids.push_back(tokenizer_.sep_id());
    feature.offsets.assign(context.offsets.begin() + begin, context.offsets.begin() + end);
    if (options_.labels) label_window(feature);
    result_.features.push_back(std::move(feature));
  }

  /// The tokens that hold the first and last character of the first answer whose place is known,
  /// when both are in the window.
  void label_window(Feature& feature) const {
    const SquadQuestion& question = result_.data.questions[static_cast<size_t>(feature.question)];
    if (question.is_without_place()) {
      feature.start_position = feature.end_position = options_.max_seq_length;
      return;
    }
    if (question.is_impossible() || feature.offsets.empty()) return;
    const Offset answer =
        span_of(*std::find_if(question.answers.begin(), question.answers.end(),
                              [](const SquadAnswer& a) { return a.has_place(); }));
    const std::vector<Offset>& offsets = feature.offsets;
    if (offsets.front().begin > answer.begin || offsets.back().end < answer.end) return;
    size_t first = offsets.size();
    while (first > 0 && offsets[first - 1].begin > answer.begin) --first;
    size_t last = 0;
    while (last < offsets.size() && offsets[last].end < answer.end) ++last;
    feature.start_position = feature.context_begin + static_cast<int64_t>(first) - 1;
    feature.end_position = feature.context_begin + static_cast<int64_t>(last);
  }

  void add_context_first(int64_t index) {
    const SquadQuestion& question = result_.data.questions[static_cast<size_t>(index)];
    const Encoding& context = context_of(index);
    const std::vector<int32_t>& asked = questions_[static_cast<size_t>(index)].ids;
    const auto [context_length, question_length] =
        cut_longest_first(std::ssize(context.ids), std::ssize(asked), options_.max_seq_length - 3);
    note_cut(result_.cut_contexts, index, std::ssize(context.ids), context_length);
    note_cut(result_.cut_questions, index, std::ssize(asked), question_length);
    Feature feature;
    feature.question = index;
    feature.ids.push_back(tokenizer_.cls_id());
    feature.context_begin = 1;
    feature.ids.insert(feature.ids.end(), context.ids.begin(),
                       context.ids.begin() + context_length);
    feature.context_end = static_cast<int32_t>(feature.ids.size());
    feature.ids.push_back(tokenizer_.sep_id());
    feature.second_begin = static_cast<int32_t>(feature.ids.size());
    feature.ids.insert(feature.ids.end(), asked.begin(), asked.begin() + question_length);
    feature.ids.push_back(tokenizer_.sep_id());
    feature.offsets.assign(context.offsets.begin(), context.offsets.begin() + context_length);
    if (!options_.labels) {
      result_.features.push_back(std::move(feature));
      return;
    }
    if (question.is_without_place()) {
      feature.start_position = feature.end_position = options_.max_seq_length;
      result_.features.push_back(std::move(feature));
      return;
    }
    for (const SquadAnswer& answer : question.answers) {
      if (!answer.has_place()) continue;
      const Offset span = span_of(answer);
      feature.start_position = token_at(feature, span.begin);
      feature.end_position = token_at(feature, span.end - 1);
      result_.features.push_back(feature);
    }
  }

  /// The token that covers a character; max_seq_length when none does (cut away, or a space).
  int64_t token_at(const Feature& feature, int32_t character) const {
    for (size_t i = 0; i < feature.offsets.size(); ++i) {
      if (feature.offsets[i].begin <= character && character < feature.offsets[i].end) {
        return feature.context_begin + static_cast<int64_t>(i);
      }
    }
    return options_.max_seq_length;
  }

  SquadFeatures& result_;
  const WordPieceTokenizer& tokenizer_;
  const FeatureOptions& options_;
  std::vector<Encoding> contexts_;
  std::vector<Encoding> questions_;
};

}  // namespace

std::shared_ptr<const SquadFeatures> make_features(SquadData data,
                                                   const WordPieceTokenizer& tokenizer,
                                                   const FeatureOptions& options) {
  LIGHTNING_CHECK(options.max_seq_length >= 16, ConfigError, "data: max_seq_length is ",
                  options.max_seq_length, ", expected at least 16. HINT: 384 is usual.");
  LIGHTNING_CHECK(options.doc_stride >= 0 && options.doc_stride <= options.max_seq_length / 2,
                  ConfigError, "data: doc_stride is ", options.doc_stride,
                  ", expected 0 to half of max_seq_length, which is ", options.max_seq_length,
                  ". HINT: a third of max_seq_length is usual.");
  auto result = std::make_shared<SquadFeatures>();
  result->data = std::move(data);
  FeatureMaker(*result, tokenizer, options).run();
  return result;
}

std::string describe_cut_questions(const SquadFeatures& features, const FeatureOptions& options) {
  constexpr size_t kNamed = 10;
  const std::vector<CutText>& cut = features.cut_questions;
  if (cut.empty()) return "";
  std::string text = lightning::detail::concat(
      cut.size(), cut.size() == 1 ? " question is" : " questions are",
      " longer than max_seq_length ", options.max_seq_length, " leaves room for and ",
      cut.size() == 1 ? "was" : "were", " cut: ");
  for (size_t i = 0; i < std::min(kNamed, cut.size()); ++i) {
    text += lightning::detail::concat(
        i == 0 ? "" : ", ", features.data.questions[static_cast<size_t>(cut[i].question)].id, " (",
        cut[i].num_tokens, " tokens, ", cut[i].num_kept, " kept)");
  }
  if (cut.size() > kNamed) text += lightning::detail::concat(" and ", cut.size() - kNamed, " more");
  return text;
}

}  // namespace bert_squad
