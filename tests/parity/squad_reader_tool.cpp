// What the SQuAD reader makes of files, for squad_reader_parity.py.
// Usage: squad_reader_tool train|score|none error|skip FILE...
// Output: a JSON array with an object for each file: {"questions": [{"id", "question", "context",
// "answers": [[text, start]]}], "warnings": [text]} or {"error": text}.
#include <cstdio>
#include <exception>
#include <iostream>
#include <string>

#include <lightning/util/log.h>
#include <nlohmann/json.hpp>

#include "examples/bert_squad/squad_reader.h"

namespace {

using nlohmann::json;

json questions_of(const bert_squad::SquadData& data) {
  json questions = json::array();
  for (const bert_squad::SquadQuestion& question : data.questions) {
    json answers = json::array();
    for (const auto& answer : question.answers) answers.push_back({answer.text, answer.start});
    questions.push_back({{"id", question.id},
                         {"question", question.question},
                         {"context", data.contexts.at(static_cast<size_t>(question.context))},
                         {"answers", answers}});
  }
  return questions;
}

json read(const char* file, const bert_squad::SquadReaderOptions& options) {
  json warnings = json::array();
  lightning::set_log_sink([&](std::string_view line) { warnings.push_back(std::string(line)); });
  try {
    json questions = questions_of(bert_squad::read_squad(file, options));
    return {{"questions", std::move(questions)}, {"warnings", warnings}};
  } catch (const std::exception& error) {
    return {{"error", error.what()}};
  }
}

}  // namespace

int main(int argc, char** argv) {
  using bert_squad::AnswerUse;
  if (argc < 4) {
    std::fprintf(stderr, "usage: squad_reader_tool train|score|none error|skip FILE...\n");
    return 2;
  }
  const std::string use = argv[1];
  const bert_squad::SquadReaderOptions options = {
      .answers = use == "train"   ? AnswerUse::kTrain
                 : use == "score" ? AnswerUse::kScore
                                  : AnswerUse::kNone,
      .on_bad_example = std::string(argv[2]) == "skip" ? bert_squad::OnBadExample::kSkip
                                                       : bert_squad::OnBadExample::kError};
  json all = json::array();
  for (int i = 3; i < argc; ++i) all.push_back(read(argv[i], options));
  std::cout << all.dump() << std::endl;
  return 0;
}
