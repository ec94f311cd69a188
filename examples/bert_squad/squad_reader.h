/// SQuAD files (v1.1 and v2): articles, passages, questions and their answers.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace bert_squad {

struct SquadAnswer {
  std::string text;
  int64_t start;  // code points into the context
};

struct SquadQuestion {
  std::string id;
  std::string question;
  int64_t context;                   // index into SquadData::contexts
  std::vector<SquadAnswer> answers;  // empty: unanswerable
  bool is_impossible() const { return answers.empty(); }
};

struct SquadData {
  std::vector<std::string> contexts;
  std::vector<SquadQuestion> questions;  // in the file's order
};

/// How answers are read.
struct SquadReaderOptions {
  /// An answer_start that is off by one or two characters is moved to where the text stands.
  bool repair_offsets = true;
  /// Answers must exist and stand at their positions; false for files that are only predicted on.
  bool check_answers = true;
};

/// Throws lightning::DataError naming file, article and question for anything that isn't SQuAD:
/// JSON errors (invalid UTF-8 too), missing or wrong keys, an answer that is not in its context, an
/// id that is there twice.
SquadData read_squad(const std::filesystem::path& path, const SquadReaderOptions& options = {});

}  // namespace bert_squad
