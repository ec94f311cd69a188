#include "examples/bert_squad/squad_reader.h"

#include <fstream>

#include <catch2/catch.hpp>

#include <lightning/util/error.h>

#include "examples/bert_squad/utf8.h"
#include "support/temporary_folder.h"

using bert_squad::read_squad;
using bert_squad::SquadData;
using bert_squad::SquadReaderOptions;
using Catch::Matchers::Contains;
using lightning::DataError;

namespace {

SquadData read(const std::string& text, const SquadReaderOptions& options = {}) {
  const lightning_tests::TemporaryFolder folder;
  const auto path = folder / "squad.json";
  std::ofstream(path, std::ios::binary) << text;
  return read_squad(path, options);
}

/// A file with one passage and these questions.
std::string with_questions(const std::string& qas) {
  return R"({"version": "v2.0", "data": [{"title": "Rivers", "paragraphs": [
    {"context": "The Rhône is a river.", "qas": [)" +
         qas + "]}]}]}";
}

std::string with_answer(const std::string& text, const std::string& start) {
  return with_questions(R"({"id": "q1", "question": "What?", "answers": [{"text": ")" + text +
                        R"(", "answer_start": )" + start + "}]}");
}

}  // namespace

TEST_CASE("SQuAD reader reads passages, questions and answers in order", "[squad_reader]") {
  const SquadData data = read(R"({"data": [
    {"title": "A", "paragraphs": [
      {"context": "one two", "qas": [
        {"id": "1", "question": "Q1?", "answers": [{"text": "two", "answer_start": 4},
                                                   {"text": "one two", "answer_start": 0}]},
        {"id": "2", "question": "Q2?", "is_impossible": true, "answers": [],
         "plausible_answers": [{"text": "one", "answer_start": 0}]}]},
      {"context": "three", "qas": []}]},
    {"title": "B", "paragraphs": [
      {"context": "four", "qas": [{"id": "3", "question": "Q3?", "is_impossible": false,
                                   "answers": [{"text": "four", "answer_start": 0}]}]}]}]})");
  CHECK(data.contexts == std::vector<std::string>{"one two", "three", "four"});
  REQUIRE(data.questions.size() == 3);
  CHECK(data.questions[0].id == "1");
  CHECK(data.questions[0].question == "Q1?");
  REQUIRE(data.questions[0].answers.size() == 2);
  CHECK(data.questions[0].answers[0].text == "two");
  CHECK(data.questions[0].answers[0].start == 4);
  CHECK(data.questions[1].is_impossible());
  CHECK(data.questions[2].context == 2);
}

TEST_CASE("SQuAD reader names file, article and question in its errors", "[squad_reader]") {
  struct Case {
    const char* name;
    std::string text;
    std::vector<std::string> expected;
  };
  const std::string answer = R"("answers": [{"text": "river", "answer_start": 15}])";
  const std::string question = R"({"id": "q1", "question": "What?", )" + answer + "}";
  const std::vector<Case> cases = {
      {"empty file", "", {"parse error", "HINT"}},
      {"cut file", with_questions(question).substr(0, 150), {"parse error", "HINT"}},
      {"no JSON", "id,question\n", {"parse error", "HINT"}},
      {"invalid UTF-8", with_answer("\xff", "0"), {"UTF-8", "HINT"}},
      {"lone surrogate", with_answer("\\ud800", "0"), {"surrogate", "HINT"}},
      {"a list", "[]", {"array", "object was expected"}},
      {"no data", R"({"version": "2"})", {"\"data\"", "missing", "HINT"}},
      {"data of another kind", R"({"data": 3})", {"\"data\"", "number", "array"}},
      {"article of another kind", R"({"data": ["Rivers"]})", {"article 0", "string"}},
      {"no paragraphs", R"({"data": [{"title": "Rivers"}]})", {"Rivers", "\"paragraphs\""}},
      {"no title", R"({"data": [{"paragraphs": [{"qas": []}]}]})", {"article 0", "\"context\""}},
      {"no context",
       R"({"data": [{"title": "Rivers", "paragraphs": [{"qas": []}]}]})",
       {"Rivers", "\"context\"", "missing"}},
      {"no questions",
       R"({"data": [{"title": "Rivers", "paragraphs": [{"context": "x"}]}]})",
       {"Rivers", "\"qas\"", "missing"}},
      {"no id", with_questions(R"({"question": "What?"})"), {"Rivers", "\"id\"", "missing"}},
      {"id of another kind",
       with_questions(R"({"id": 7, "question": "What?"})"),
       {"Rivers", "\"id\"", "number", "string"}},
      {"no question", with_questions(R"({"id": "q1"})"), {"Rivers", "q1", "\"question\""}},
      {"id twice", with_questions(question + ", " + question), {"Rivers", "q1", "twice"}},
      {"no answers",
       with_questions(R"({"id": "q1", "question": "What?"})"),
       {"Rivers", "q1", "\"answers\"", "missing"}},
      {"answerable without answers",
       with_questions(R"({"id": "q1", "question": "What?", "answers": []})"),
       {"Rivers", "q1", "no answer", "is_impossible"}},
      {"impossible with answers",
       with_questions(R"({"id": "q1", "question": "?", "is_impossible": true, )" + answer + "}"),
       {"Rivers", "q1", "is_impossible", "expected none"}},
      {"answers of another kind",
       with_questions(R"({"id": "q1", "question": "What?", "answers": {}})"),
       {"Rivers", "q1", "\"answers\"", "object", "array"}},
      {"no answer_start",
       with_questions(R"({"id": "q1", "question": "What?", "answers": [{"text": "river"}]})"),
       {"Rivers", "q1", "\"answer_start\"", "missing"}},
      {"answer_start of another kind",
       with_answer("river", "\"15\""),
       {"Rivers", "q1", "\"answer_start\"", "string", "number"}},
      {"fractional answer_start",
       with_answer("river", "15.5"),
       {"Rivers", "q1", "\"answer_start\"", "number"}},
      {"empty answer", with_answer("", "3"), {"Rivers", "q1", "empty"}},
      {"answer elsewhere", with_answer("river", "3"), {"Rivers", "q1", "\"river\"", "3", "HINT"}},
      {"another text", with_answer("lake", "15"), {"Rivers", "q1", "\"lake\"", "15"}},
      {"negative answer_start", with_answer("river", "-1"), {"Rivers", "q1", "-1", "21"}},
      {"answer_start past the end", with_answer("river", "22"), {"Rivers", "q1", "22", "21"}},
      {"huge answer_start", with_answer("river", "9223372036854775807"), {"Rivers", "q1"}},
      {"huge unsigned answer_start", with_answer("river", "18446744073709551615"), {"q1"}},
      {"lowest answer_start", with_answer("river", "-9223372036854775808"), {"Rivers", "q1"}},
  };
  for (const Case& one : cases) {
    INFO(one.name);
    try {
      read(one.text);
      FAIL("no error");
    } catch (const DataError& error) {
      CHECK_THAT(error.what(), Contains("squad.json"));
      for (const std::string& part : one.expected) CHECK_THAT(error.what(), Contains(part));
    }
  }
}

TEST_CASE("SQuAD reader names a file that isn't there", "[squad_reader]") {
  CHECK_THROWS_AS(read_squad("/nonexistent/squad.json"), DataError);
  CHECK_THROWS_WITH(read_squad("/nonexistent/squad.json"),
                    Contains("/nonexistent/squad.json") && Contains("No such file"));
}

TEST_CASE("SQuAD reader moves answers that are off by one or two characters", "[squad_reader]") {
  const auto start_after = [](const char* start) {
    return read(with_answer("river", start)).questions[0].answers[0].start;
  };
  for (const char* start : {"13", "14", "15", "16", "17"}) CHECK(start_after(start) == 15);
  for (const char* start : {"12", "18"}) CHECK_THROWS_AS(start_after(start), DataError);
  const SquadReaderOptions exact = {.repair_offsets = false};
  CHECK(read(with_answer("river", "15"), exact).questions[0].answers[0].start == 15);
  CHECK_THROWS_WITH(read(with_answer("river", "16"), exact), Contains("answer_start 16"));
}

TEST_CASE("SQuAD reader prefers the place that is given to one nearby", "[squad_reader]") {
  const SquadData data = read(R"({"data": [{"title": "A", "paragraphs": [
    {"context": "aaaa", "qas": [{"id": "1", "question": "?",
                                 "answers": [{"text": "a", "answer_start": 2}]}]}]}]})");
  CHECK(data.questions[0].answers[0].start == 2);
}

TEST_CASE("SQuAD reader counts code points, not bytes", "[squad_reader]") {
  // "river" begins at byte 16 and at code point 15.
  const SquadData data = read(with_answer("river", "15"), {.repair_offsets = false});
  CHECK(data.questions[0].answers[0].start == 15);
  CHECK(bert_squad::substr_code_points(data.contexts[0], 15, 20) == "river");
  CHECK(read(with_answer("h\u00f4ne", "5"), {.repair_offsets = false}).questions.size() == 1);
  // Three characters of four bytes each before the answer.
  const std::string emoji = R"({"data": [{"title": "A", "paragraphs": [
    {"context": "😀😀😀 end", "qas": [{"id": "1", "question": "?",
                                     "answers": [{"text": "end", "answer_start": 4}]}]}]}]})";
  CHECK(read(emoji, {.repair_offsets = false}).questions[0].answers[0].start == 4);
}

TEST_CASE("SQuAD reader takes questions without answers for prediction", "[squad_reader]") {
  const SquadReaderOptions predicts = {.check_answers = false};
  const SquadData data = read(with_questions(R"({"id": "q1", "question": "What?"},
                                                {"id": "q2", "question": "?", "answers": []})"),
                              predicts);
  CHECK(data.questions.size() == 2);
  CHECK_NOTHROW(read(with_answer("lake", "3"), predicts));
}
