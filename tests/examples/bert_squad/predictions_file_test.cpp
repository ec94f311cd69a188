#include "examples/bert_squad/predictions_file.h"

#include <cmath>
#include <limits>
#include <optional>

#include <catch2/catch.hpp>

#include <lightning/util/error.h>
#include <lightning/util/file_system.h>

#include "examples/bert_squad/letters.h"
#include "support/captured_stderr.h"
#include "support/faulty_file_system.h"
#include "support/temporary_folder.h"

using bert_squad::AnswerDecoder;
using Catch::Matchers::Contains;
using lightning::read_file;
using lightning_tests::TemporaryFolder;

namespace {

/// Two questions about "a b c": the best span is the first letter with a score of 3, "no answer"
/// has 2 for the first and 4 for the second question.
AnswerDecoder two_questions(float second_null = 4.0F) {
  const auto features =
      make_features(lightning_tests::letter_data(3, {{"q\"0", "a", {}}, {"q1", "b", {}}}),
                    lightning_tests::letter_tokenizer(), {});
  AnswerDecoder decoder({.n_best = 1, .max_answer_length = 1});
  for (int64_t row = 0; row < 2; ++row) {
    // [CLS] a [SEP] a b c [SEP]
    std::vector<float> start(7, 0.0F);
    const std::vector<float> end(7, 0.0F);
    start[0] = row == 0 ? 2.0F : second_null;
    start[3] = 3.0F;
    decoder.add(features, row, start, end);
  }
  return decoder;
}

}  // namespace

TEST_CASE("The files of predict hold answers, the n best and what \"no answer\" is ahead",
          "[predictions_file]") {
  const TemporaryFolder folder;
  const auto files = write_predictions(folder.path(), two_questions(), 0.5);
  CHECK(read_file(files.predictions) == "{\n \"q\\\"0\": \"a\",\n \"q1\": \"\"\n}\n");
  CHECK(read_file(files.null_odds) == "{\n \"q\\\"0\": -1.0,\n \"q1\": 1.0\n}\n");
  CHECK(files.null_odds.filename() == "null_odds.json");
  const std::string n_best = read_file(files.n_best);
  CHECK(files.n_best.filename() == "nbest_predictions.json");
  CHECK(n_best.starts_with(
      "{\n \"q\\\"0\": [\n  {\n   \"text\": \"a\",\n   \"probability\": 0.7310"));
  CHECK_THAT(n_best, Contains("\"start_logit\": 3.0,\n   \"end_logit\": 0.0\n  },\n  {\n"));
  // It is better than the span and takes the only place.
  CHECK_THAT(n_best, Contains("\"q1\": [\n  {\n   \"text\": \"\",\n   \"probability\": 1.0"));
}

TEST_CASE("Without a threshold there is always an answer in the files of predict",
          "[predictions_file]") {
  const TemporaryFolder folder;
  const auto files = write_predictions(folder.path(), two_questions(), std::nullopt);
  CHECK(read_file(files.predictions) == "{\n \"q\\\"0\": \"a\",\n \"q1\": \"a\"\n}\n");
  CHECK_THAT(read_file(files.n_best), !Contains("\"text\": \"\""));
  CHECK_THAT(read_file(files.null_odds), Contains("\"q1\": 1.0"));
}

TEST_CASE("Scores that aren't numbers are null, and said", "[predictions_file]") {
  const TemporaryFolder folder;
  const lightning_tests::CapturedStderr captured;
  const auto files =
      write_predictions(folder.path(), two_questions(std::numeric_limits<float>::quiet_NaN()), 0.0);
  CHECK_THAT(read_file(files.null_odds), Contains("\"q1\": null"));
  CHECK_THAT(read_file(files.predictions), Contains("\"q1\": \"a\""));
  CHECK_THAT(captured.text(), Contains("scores of 1 of 2 questions are not finite"));
}

TEST_CASE("A passage without a score that is a number is no answer, and said",
          "[predictions_file]") {
  const TemporaryFolder folder;
  const auto features =
      make_features(lightning_tests::letter_data(3, {{"q0", "a", {}}, {"q1", "b", {}}}),
                    lightning_tests::letter_tokenizer(), {});
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
  const lightning_tests::CapturedStderr captured;  // the same warning is given once
  // [CLS] may have a number all the same.
  for (const float null_score : {0.0F, kNaN}) {
    for (const std::optional<double> threshold : {std::optional<double>(), {0.0}}) {
      AnswerDecoder decoder({});
      std::vector<float> scores(7, kNaN);
      scores[0] = null_score;
      decoder.add(features, 0, scores, scores);
      decoder.add(features, 1, scores, scores);
      AnswerDecoder merged({});
      merged.add(features, 0, scores, scores);
      merged.merge(decoder.state_dict(20));
      for (const AnswerDecoder* one : {&decoder, &merged}) {
        const auto files = write_predictions(folder.path(), *one, threshold);
        CHECK(read_file(files.null_odds) == "{\n \"q0\": null,\n \"q1\": null\n}\n");
        CHECK_THAT(read_file(files.n_best), Contains("\"probability\": 0.0") &&
                                                Contains("\"start_logit\": null") &&
                                                !Contains("\"probability\": 1.0"));
      }
    }
  }
  CHECK_THAT(captured.text(), Contains("scores of 2 of 2 questions are not finite"));
}

TEST_CASE("The files of predict are whole or not there", "[predictions_file]") {
  const TemporaryFolder folder;
  const auto empty = write_predictions(folder.path(), AnswerDecoder({}), 0.0);
  CHECK(read_file(empty.predictions) == "{}\n");
  std::filesystem::remove(empty.null_odds);
  using lightning_tests::DiskCall;
  for (const DiskCall call :
       {DiskCall::kOpen, DiskCall::kWrite, DiskCall::kSync, DiskCall::kRename}) {
    lightning_tests::FaultyFileSystem disk;
    disk.fail(call, 1, ENOSPC);
    const lightning::ScopedFileSystem scope(disk);
    CHECK_THROWS_AS(write_predictions(folder.path(), two_questions(), 0.0),
                    lightning::CheckpointError);
    CHECK(read_file(empty.predictions) == "{}\n");
    for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
      CHECK(entry.path().extension() == ".json");
    }
  }
}
