/// The files that `predict` writes, in the forms of transformers' question-answering examples and
/// of the official evaluation script.
#pragma once

#include <filesystem>
#include <optional>

#include "answer_decoder.h"

namespace bert_squad {

struct PredictionFiles {
  /// {question id: answer text, "" for no answer}: what the official script takes.
  std::filesystem::path predictions;
  /// {question id: [{text, probability, start_logit, end_logit}, ...]}, best first.
  std::filesystem::path n_best;
  /// {question id: score of "no answer" - the best span's score}: its --na-prob-file.
  std::filesystem::path null_odds;
};

/// Writes predictions.json, nbest_predictions.json and null_odds.json into `folder`, in the order
/// of the questions and with those that `decoder` has seen. An answer is given unless the score of
/// "no answer" is better by more than `null_threshold`; without one there is always an answer, and
/// the n best don't hold "no answer". Each file is whole or not there; predictions.json comes last.
/// Scores that aren't finite numbers are written as null, with a warning.
/// Memory: one question at a time. Throws lightning::CheckpointError when a file can't be written.
PredictionFiles write_predictions(const std::filesystem::path& folder, const AnswerDecoder& decoder,
                                  const std::optional<double>& null_threshold);

}  // namespace bert_squad
