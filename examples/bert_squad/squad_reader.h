/// Files of questions about texts, in the forms that the field's tools write: SQuAD's (v1.1 and v2)
/// and flat rows, as JSON, JSON Lines or CSV. docs/bert_squad.md has the table of what is taken.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <lightning/config/fields.h>

namespace bert_squad {

struct SquadAnswer {
  /// Of an answer whose place in the context isn't known: it counts for the scores only.
  static constexpr int64_t kNoPlace = -1;

  std::string text;
  int64_t start;  // code points into the context, or kNoPlace

  bool has_place() const { return start != kNoPlace; }
};

struct SquadQuestion {
  std::string id;
  std::string question;
  int64_t context;                   // index into SquadData::contexts
  std::vector<SquadAnswer> answers;  // empty: unanswerable
  bool is_impossible() const { return answers.empty(); }
  /// It has answers, and the place of none is known: there is nothing that a loss could compare
  /// with.
  bool is_without_place() const;
};

struct SquadData {
  std::vector<std::string> contexts;
  std::vector<SquadQuestion> questions;  // in the file's order
};

/// What is done with a question that can't be used as it stands in the file.
enum class OnBadExample { kError, kSkip };
LIGHTNING_ENUM(OnBadExample, LIGHTNING_ENUMERATOR(kError, "error"),
               LIGHTNING_ENUMERATOR(kSkip, "skip"))

/// What the answers of a file are for.
enum class AnswerUse {
  kTrain,  // texts and places: an answer that doesn't stand in its context is bad
  kScore,  // texts, as the official script takes them; places where they are right
  kNone,   // they aren't looked at
};

struct SquadReaderOptions {
  /// An answer_start that is off by one or two characters is moved to where the text stands.
  bool repair_offsets = true;
  AnswerUse answers = AnswerUse::kTrain;
  /// With kSkip bad answers are left out, and questions that have no other, or are bad themselves.
  OnBadExample on_bad_example = OnBadExample::kError;
};

/// Throws lightning::DataError for files that can't be read at all (encoding, syntax, another
/// format), with byte and line, and for bad examples, with the number of them and the first ten by
/// line and question; kSkip makes this a warning unless no question is left.
SquadData read_squad(const std::filesystem::path& path, const SquadReaderOptions& options = {});

}  // namespace bert_squad
