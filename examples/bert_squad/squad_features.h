/// Features: questions and contexts as the model sees them: token ids, windows over long contexts,
/// and where the answer is.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <lightning/config/fields.h>

#include "squad_reader.h"
#include "wordpiece.h"

namespace bert_squad {

/// How a question and its context become one input.
enum class FeatureLayout {
  /// [CLS] question [SEP] context [SEP], a long context in overlapping windows.
  kWindows,
  /// The course's baseline: [CLS] context [SEP] question [SEP], cut at max_seq_length, one example
  /// per answer. A position that was cut away is max_seq_length.
  kContextFirst,
};
LIGHTNING_ENUM(FeatureLayout, LIGHTNING_ENUMERATOR(kWindows, "windows"),
               LIGHTNING_ENUMERATOR(kContextFirst, "context_first"))

struct FeatureOptions {
  FeatureLayout layout = FeatureLayout::kWindows;
  int64_t max_seq_length = 384;
  /// Tokens that neighbouring windows share.
  int64_t doc_stride = 128;
  int num_threads = 1;
  /// false: no answers are looked for, each question is there once with any layout.
  bool labels = true;
};

/// One input.
struct Feature {
  int64_t question = 0;  // index into SquadData::questions
  std::vector<int32_t> ids;
  int32_t second_begin = 0;   // first token of the second sequence (token type 1)
  int32_t context_begin = 0;  // tokens [context_begin, context_end) are the context's
  int32_t context_end = 0;
  std::vector<Offset> offsets;  // of those tokens: code points into the context
  int64_t start_position = 0;   // first and last token of the answer; 0 (of [CLS]): not in here
  int64_t end_position = 0;

  int64_t length() const { return static_cast<int64_t>(ids.size()); }
};

/// A question or a context that lost tokens because it is too long.
struct CutText {
  int64_t question = 0;  // index into SquadData::questions
  int64_t num_tokens = 0;
  int64_t num_kept = 0;
};

/// Texts and their features, which batches point to.
struct SquadFeatures {
  SquadData data;
  std::vector<Feature> features;  // those of a question stand together, in order
  std::vector<CutText> cut_questions;
  std::vector<CutText> cut_contexts;  // kContextFirst alone: kWindows loses nothing of a context
};

/// Labels come from each question's first answer whose place is known (from every one with
/// kContextFirst, where unanswerable questions give no feature). A question whose answers have no
/// place is labelled with max_seq_length, which span_loss() leaves out. With kWindows a question is
/// cut that takes more than half of max_seq_length, or leaves no more than doc_stride tokens to the
/// context; with kContextFirst the longer of both is cut to fit. The result lists what was cut.
/// Throws lightning::ConfigError for sizes that leave no room.
std::shared_ptr<const SquadFeatures> make_features(SquadData data,
                                                   const WordPieceTokenizer& tokenizer,
                                                   const FeatureOptions& options);

/// "2 questions are longer than max_seq_length 384 leaves room for and were cut: q1 (250 tokens,
/// 188 kept), ..."; the first ten are named. Empty when none was cut.
std::string describe_cut_questions(const SquadFeatures& features, const FeatureOptions& options);

}  // namespace bert_squad
