#include "examples/bert_squad/squad_reader.h"

#include <fstream>

#include <catch2/catch.hpp>

#include <lightning/util/error.h>
#include <lightning/util/format.h>

#include "examples/bert_squad/utf8.h"
#include "support/captured_stderr.h"
#include "support/temporary_folder.h"

using bert_squad::AnswerUse;
using bert_squad::OnBadExample;
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

TEST_CASE("SQuAD reader names file, line and question in its errors", "[squad_reader]") {
  struct Case {
    const char* name;
    std::string text;
    std::vector<std::string> expected;
  };
  const std::string answer = R"("answers": [{"text": "river", "answer_start": 15}])";
  const std::string question = R"({"id": "q1", "question": "What?", )" + answer + "}";
  const std::string bomb(100000, '[');
  const std::vector<Case> cases = {
      // ---- the file as a whole
      {"empty file", "", {"is empty", "HINT"}},
      {"blank file", " \n\n", {"is empty", "HINT"}},
      {"cut file", with_questions(question).substr(0, 150), {"parse error in line 2", "HINT"}},
      {"no JSON", "<html>\n", {"begins with \"<html>\"", "JSON Lines", "CSV", "HINT"}},
      {"a header without contexts", "id,question\n", {"begins with \"id,question\"", "context"}},
      {"a header without ids", "context,question\nA b.,A?\n", {"no column \"id\"", "HINT"}},
      {"an open quote", "id,context,question\n1,\"A b.,A?\n", {"line 2 (byte 22)", "never closed"}},
      {"depth", "{\"data\": " + bomb, {"line 1 (byte 136)", "nested deeper than 128"}},
      {"depth of an unused value", "{\"x\": " + bomb, {"nested deeper than 128"}},
      {"depth of a cell", "id,context,question,answers\n1,A b.,A?," + bomb + "\n", {"nested"}},
      {"trailing comma", R"({"data": [1,]})", {"parse error in line 1 (byte 12)", "\"]\""}},
      {"missing comma", R"({"data": [] "x": 1})", {"parse error", "',' or '}'"}},
      {"control character", "{\"data\": \"\x01\"}", {"parse error", "\\x01", "escape"}},
      {"unknown escape", R"({"data": "\q"})", {"parse error", "escape"}},
      {"a bare word", R"({"data": nul})", {"parse error", "\"nul\""}},
      {"more after the value", R"({"data": []} x)", {"parse error", "\"x\""}},
      {"nothing in it", R"({"data": []})", {"no question", "HINT"}},
      // ---- another format
      {"an empty list", "[]", {"no question", "HINT"}},
      {"a number", "[3]", {"a number", "\"paragraphs\"", "\"qas\""}},
      {"no data", R"({"version": "2"})", {"\"data\"", "missing", "HINT"}},
      {"data of another kind", R"({"data": 3})", {"\"data\"", "a number", "an array"}},
      {"article of another kind", R"({"data": ["Rivers"]})", {"a string", "an article"}},
      {"no paragraphs", R"({"data": [{"title": "Rivers"}]})", {"Rivers", "\"paragraphs\""}},
      {"no title", R"({"data": [{"paragraphs": [{"qas": []}]}]})", {"line 1", "\"context\""}},
      {"no context",
       R"({"data": [{"title": "Rivers", "paragraphs": [{"qas": []}]}]})",
       {"Rivers", "\"context\"", "missing"}},
      {"no questions",
       R"({"data": [{"title": "Rivers", "paragraphs": [{"context": "x"}]}]})",
       {"Rivers", "\"qas\"", "missing"}},
      {"columns",
       R"({"context": {"0": "x"}, "question": {"0": "y"}})",
       {"\"context\" holds an object"}},
      // ---- questions
      {"no id", with_questions(R"({"question": "What?"})"), {"Rivers", "\"id\"", "missing"}},
      {"id of another kind",
       with_questions(R"({"id": true, "question": "What?"})"),
       {"Rivers", "\"id\" holds true", "a string or a number"}},
      {"no question", with_questions(R"({"id": "q1"})"), {"Rivers", "q1", "\"question\""}},
      {"question of another kind",
       with_questions(R"({"id": 7, "question": 5})"),
       {"\"7\"", "\"question\" holds a number"}},
      {"id twice", with_questions(question + ", " + question), {"1 bad", "Rivers", "q1", "twice"}},
      {"fields of a row",
       "id,context,question\n1,A b.,A?\n2,A, b.,A?\n",
       {"line 3", "4 fields", "3"}},
      // ---- answers
      {"no answers",
       with_questions(R"({"id": "q1", "question": "What?"})"),
       {"Rivers", "q1", "\"answers\"", "missing"}},
      {"answerable without answers",
       with_questions(
           R"({"id": "q1", "question": "What?", "answers": [], "is_impossible": false})"),
       {"Rivers", "q1", "no answer", "is_impossible"}},
      {"impossible with answers",
       with_questions(R"({"id": "q1", "question": "?", "is_impossible": true, )" + answer + "}"),
       {"Rivers", "q1", "is_impossible", "expected none"}},
      {"is_impossible of another kind",
       with_questions(R"({"id": "q1", "question": "?", "is_impossible": "maybe", )" + answer + "}"),
       {"q1", "\"is_impossible\" is \"maybe\"", "true or false"}},
      {"answers of another kind",
       with_questions(R"({"id": "q1", "question": "What?", "answers": {}})"),
       {"Rivers", "q1", "\"text\"", "missing"}},
      {"answers of no kind",
       with_questions(R"({"id": "q1", "question": "What?", "answers": 5})"),
       {"q1", "\"answers\" is 5", "an array or an object"}},
      {"an answer of no kind",
       with_questions(R"({"id": "q1", "question": "What?", "answers": [[1]]})"),
       {"q1", "an array", "\"text\""}},
      {"lists of unlike lengths",
       with_questions(
           R"({"id": "q1", "question": "?", "answers": {"text": ["a", "b"], "answer_start": []}})"),
       {"q1", "2 items", "0"}},
      {"a broken cell",
       "id,context,question,answers\nq1,A b.,A?,{'text': ['b']\n",
       {"q1", "neither JSON nor a Python value"}},
      {"no answer_start",
       with_questions(R"({"id": "q1", "question": "What?", "answers": [{"text": "river"}]})"),
       {"Rivers", "q1", "no \"answer_start\""}},
      {"answer_start of another kind",
       with_answer("river", "\"x\""),
       {"Rivers", "q1", "\"answer_start\" is \"x\"", "whole number"}},
      {"fractional answer_start",
       with_answer("river", "15.5"),
       {"Rivers", "q1", "\"answer_start\" is 15.5", "whole number"}},
      {"answer_start true", with_answer("river", "true"), {"\"answer_start\" is true"}},
      {"empty answer", with_answer("", "3"), {"Rivers", "q1", "empty"}},
      {"blank answer", with_answer("\u00a0 ", "3"), {"Rivers", "q1", "empty"}},
      {"answer elsewhere", with_answer("river", "3"), {"Rivers", "q1", "\"river\"", "3", "line 2"}},
      {"another text", with_answer("lake", "15"), {"Rivers", "q1", "\"lake\"", "15"}},
      {"negative answer_start", with_answer("river", "-1"), {"Rivers", "q1", "-1", "21"}},
      {"answer_start past the end", with_answer("river", "22"), {"Rivers", "q1", "22", "21"}},
      {"huge answer_start", with_answer("river", "9223372036854775807"), {"Rivers", "q1"}},
      {"huge unsigned answer_start", with_answer("river", "18446744073709551615"), {"q1"}},
      {"lowest answer_start", with_answer("river", "-9223372036854775808"), {"Rivers", "q1"}},
      {"NUL in a text",
       with_questions(R"({"id": "a\u0000b", "question": "?", "answers": 5})"),
       {"a\\x00b", "HINT"}},
  };
  for (const Case& one : cases) {
    INFO(one.name);
    for (const auto on_bad : {OnBadExample::kError, OnBadExample::kSkip}) {
      try {
        const SquadData data = read(one.text, {.on_bad_example = on_bad});
        // What is skipped leaves the good questions.
        CHECK(on_bad == OnBadExample::kSkip);
        CHECK(data.questions.size() == 1);
      } catch (const DataError& error) {
        CHECK_THAT(error.what(), Contains("squad.json"));
        CHECK(bert_squad::find_invalid_utf8(error.what()) == std::string::npos);
        for (const std::string& part : one.expected) CHECK_THAT(error.what(), Contains(part));
      }
    }
  }
}

TEST_CASE("SQuAD reader names the place of what isn't UTF-8", "[squad_reader]") {
  using namespace std::string_literals;
  const std::string good = with_answer("river", "15");
  const size_t at = good.find("river.");
  std::string latin1 = good, utf16 = "\xFF\xFE"s, bare16le, bare16be, nul = good;
  latin1[at] = '\xE9';
  nul[at] = '\0';
  for (const char byte : good) {
    utf16 += {byte, '\0'};
    bare16le += {byte, '\0'};
    bare16be += {'\0', byte};
  }
  struct Case {
    const char* name;
    std::string text;
    std::vector<std::string> expected;
  };
  const std::vector<Case> cases = {
      {"Latin-1", latin1, {lightning::format("byte {} (0xe9) in line 2", at), "LATIN1"}},
      {"UTF-16", utf16, {"byte", "0", "UTF-16"}},
      {"UTF-16, big-endian", "\xFE\xFF" + bare16be, {"byte", "0", "UTF-16"}},
      {"UTF-16 without a mark", bare16le, {"byte 1", "UTF-16LE"}},
      {"UTF-16 without a mark, big-endian", bare16be, {"byte 0", "UTF-16BE"}},
      {"UTF-32", "\xFF\xFE\0\0{\0\0\0"s, {"UTF-32"}},
      {"NUL", nul, {lightning::format("byte {} in line 2 is NUL", at)}},
      {"a cut character",
       good.substr(0, good.find("\xC3") + 1),
       {"(0xc3) in line 2", "ends within"}},
      {"gzip", "\x1F\x8B\x08\x00"s, {"gzip"}},
      {"CSV in Latin-1", "id,context,question\n1,Rh\xF4ne,?\n", {"byte 24 (0xf4) in line 2"}},
  };
  for (const Case& one : cases) {
    INFO(one.name);
    for (const auto use : {AnswerUse::kTrain, AnswerUse::kNone}) {
      try {
        read(one.text, {.answers = use, .on_bad_example = OnBadExample::kSkip});
        FAIL("no error");
      } catch (const DataError& error) {
        CHECK(bert_squad::find_invalid_utf8(error.what()) == std::string::npos);
        CHECK_THAT(error.what(), Contains("squad.json") && Contains("UTF-8") && Contains("HINT"));
        for (const std::string& part : one.expected) CHECK_THAT(error.what(), Contains(part));
      }
    }
  }
}

namespace {

/// 15 questions; of three every `step`-th is bad in its own way.
std::string some_bad(int step) {
  std::string qas;
  for (int i = 0; i < 15; ++i) {
    const char* answers = R"([{"text": "river", "answer_start": 15}])";
    if (i % step == 1) answers = R"([{"text": "lake", "answer_start": 15}])";
    if (i % step == 2) answers = R"([{"text": "", "answer_start": 0}])";
    if (i % step == 3) answers = R"([{"text": "river", "answer_start": 99}])";
    qas += lightning::format("{}{{\"id\": {}, \"question\": \"?\", \"answers\": {}}}",
                             i == 0 ? "" : ",\n", i, answers);
  }
  return with_questions(qas);
}

std::vector<std::string> ids_of(const SquadData& data) {
  std::vector<std::string> ids;
  for (const auto& question : data.questions) ids.push_back(question.id);
  return ids;
}

}  // namespace

TEST_CASE("SQuAD reader counts what is bad and lists the first ten", "[squad_reader]") {
  const std::string text = some_bad(4);  // 0, 4, 8 and 12 are good
  try {
    read(text);
    FAIL("no error");
  } catch (const DataError& error) {
    CHECK_THAT(error.what(), Contains("11 bad questions among 15 questions") &&
                                 Contains("on_bad_example skip") && Contains("... and 1 more") &&
                                 Contains("line 3, article \"Rivers\", question \"1\"") &&
                                 Contains("question \"13\"") && !Contains("question \"14\""));
  }
  CHECK(ids_of(read(text, {.on_bad_example = OnBadExample::kSkip})) ==
        std::vector<std::string>{"0", "4", "8", "12"});
}

TEST_CASE("SQuAD reader needs offsets for training only", "[squad_reader]") {
  const std::string text = some_bad(4);
  const SquadData scored = read(text, {.answers = AnswerUse::kScore});
  REQUIRE(scored.questions.size() == 15);
  CHECK(scored.questions[0].answers[0].start == 15);
  CHECK(scored.questions[1].answers[0].text == "lake");
  CHECK(scored.questions[2].answers[0].text.empty());
  CHECK(scored.questions[3].answers[0].text == "river");
  for (size_t i = 0; i < 15; ++i) CHECK(scored.questions[i].is_without_place() == (i % 4 != 0));
  const SquadData asked = read(text, {.answers = AnswerUse::kNone});
  CHECK(asked.questions.size() == 15);
  CHECK(asked.questions[0].answers.empty());
}

TEST_CASE("SQuAD reader keeps the good answers of a question", "[squad_reader]") {
  const std::string text = with_questions(R"({"id": "q1", "question": "?", "answers": [
      {"text": "lake", "answer_start": 4}, {"text": "", "answer_start": 0}, null,
      {"text": "river", "answer_start": 15}, {"text": "The", "answer_start": 0}]})");
  const auto texts = [](const SquadData& data) {
    std::vector<std::string> all;
    for (const auto& answer : data.questions.at(0).answers) all.push_back(answer.text);
    return all;
  };
  CHECK_THROWS_WITH(read(text), Contains("1 bad answer beside good ones among 1 question"));
  CHECK(texts(read(text, {.on_bad_example = OnBadExample::kSkip})) ==
        std::vector<std::string>{"river", "The"});
  const SquadData scored = read(text, {.answers = AnswerUse::kScore});
  CHECK(texts(scored) == std::vector<std::string>{"lake", "river", "The"});
  CHECK_FALSE(scored.questions[0].answers[0].has_place());
  CHECK_FALSE(scored.questions[0].is_without_place());
  // Empty ones alone end no run.
  const std::string blank = with_questions(R"({"id": "q1", "question": "?", "answers": [
      {"text": "", "answer_start": 0}, {"text": "river", "answer_start": 15}]})");
  CHECK(texts(read(blank)) == std::vector<std::string>{"river"});
}

TEST_CASE("SQuAD reader leaves out what is no answer, and keeps the others", "[squad_reader]") {
  const std::string good = R"({"text": "river", "answer_start": 15})";
  const auto answers = [](const std::string& value) {
    return with_questions(R"({"id": "q1", "question": "?", "answers": )" + value + "}");
  };
  const auto texts = [](const SquadData& data) {
    std::vector<std::string> all;
    for (const auto& answer : data.questions.at(0).answers) all.push_back(answer.text);
    return all;
  };
  const std::vector<std::string> river = {"river"};
  for (const std::string bad :
       {R"({"answer_start": 3})", "{}", R"({"text": true})", R"({"text": {}, "answer_start": 1})",
        "[]", "true", R"({"text": [true], "answer_start": [1]})"}) {
    INFO(bad);
    for (const auto use : {AnswerUse::kTrain, AnswerUse::kScore}) {
      for (const std::string& both : {bad + ", " + good, good + ", " + bad}) {
        CHECK_THROWS_WITH(read(answers("[" + both + "]"), {.answers = use}),
                          Contains("1 bad answer beside good ones among 1 question"));
        CHECK(texts(read(answers("[" + both + "]"),
                         {.answers = use, .on_bad_example = OnBadExample::kSkip})) == river);
      }
      CHECK_THROWS_WITH(read(answers("[" + bad + "]"), {.answers = use}),
                        Contains("1 bad question among 1 question"));
    }
  }
  // One text and one place are a pair, in whatever lists they are.
  for (const char* pair : {R"({"text": ["river"], "answer_start": 15})",
                           R"({"text": "river", "answer_start": [15]})"}) {
    CHECK(read(answers(pair)).questions.at(0).answers.at(0).start == 15);
  }
  // Texts without a place are as good as others for the scores.
  const std::string unlike = answers(R"({"text": ["river", "The"], "answer_start": [15]})");
  CHECK_THROWS_WITH(read(unlike), Contains("1 bad answer") && Contains("\"text\" has 2 items"));
  CHECK(texts(read(unlike, {.on_bad_example = OnBadExample::kSkip})) == river);
  CHECK(texts(read(unlike, {.answers = AnswerUse::kScore})) ==
        std::vector<std::string>{"river", "The"});
}

TEST_CASE("SQuAD reader takes the words for is_impossible", "[squad_reader]") {
  const auto num_answers = [](const char* word, const char* answers) {
    return read(with_questions(lightning::format(
                    R"({{"id": 1, "question": "?", "is_impossible": {}, "answers": [{}]}})", word,
                    answers)))
        .questions.at(0)
        .answers.size();
  };
  for (const char* yes : {"true", "1", R"("yes")", R"(" Yes ")", R"(" TRUE\n")", R"("1")"}) {
    INFO(yes);
    CHECK(num_answers(yes, "") == 0);
  }
  for (const char* no : {"false", "0", R"("no")", R"("NO ")", R"("\tfalse ")"}) {
    INFO(no);
    CHECK(num_answers(no, R"({"text": "river", "answer_start": 15})") == 1);
    CHECK_THROWS_AS(num_answers(no, ""), DataError);
  }
}

TEST_CASE("SQuAD reader takes rows that end early", "[squad_reader]") {
  const std::string text =
      "id,context,question,answer_text,answer_start\n"
      "1,A b.,A?,b,2\n"
      "2,A b.,A?\n"
      "  \n"
      "3,A b.,A?,\n"
      "4,A b.\n";
  for (const auto use : {AnswerUse::kTrain, AnswerUse::kScore, AnswerUse::kNone}) {
    const SquadData data = read(text, {.answers = use, .on_bad_example = OnBadExample::kSkip});
    CHECK(ids_of(data) == std::vector<std::string>{"1", "2", "3"});
    CHECK(data.questions[1].answers.empty());
  }
  CHECK(ids_of(read(text.substr(0, text.find("4,")), {.answers = AnswerUse::kNone})).size() == 3);
  CHECK_THROWS_WITH(read(text), Contains("line 6") && Contains("\"question\" holds null"));
}

TEST_CASE("SQuAD reader takes a column \"text\" as the answer beside its place only",
          "[squad_reader]") {
  const auto row = [](const std::string& more) {
    return R"([{"id": 1, "context": "The river.", "question": "?", )" + more + "}]";
  };
  for (const auto use : {AnswerUse::kTrain, AnswerUse::kScore}) {
    CHECK_THROWS_WITH(read(row(R"("text": "river")"), {.answers = use}),
                      Contains("\"answers\" is missing"));
  }
  for (const char* columns : {R"("text": "river", "answer_start": 4)",
                              R"("answer": "river", "answer_start": 4, "text": "The")",
                              R"("answers.text": ["river"], "answer_starts": [4])"}) {
    INFO(columns);
    const SquadData data = read(row(columns));
    CHECK(data.questions.at(0).answers.at(0).text == "river");
  }
}

TEST_CASE("SQuAD reader replaces lone surrogates, as many as it says", "[squad_reader]") {
  const std::string text = R"({"data": [{"paragraphs": [{"context": "a \ud83d b \ude00\u0063 river",
    "qas": [{"id": "\ud83d\ude00", "question": "\ud83d\ud83d\ude00?",
             "answers": [{"text": "river", "answer_start": 9}]}]}]}]})";
  const lightning_tests::CapturedStderr captured;
  const SquadData data = read(text, {.repair_offsets = false});
  CHECK(data.contexts.at(0) ==
        "a \xEF\xBF\xBD b \xEF\xBF\xBD"
        "c river");
  CHECK(data.questions.at(0).question == "\xEF\xBF\xBD😀?");
  CHECK(data.questions[0].id == "😀");
  const std::string said = captured.text();
  CHECK_THAT(said, Contains("3 lone surrogates") && Contains("U+FFFD"));
  CHECK(said.find("surrogates") == said.rfind("surrogates"));
}

TEST_CASE("SQuAD reader says that it was given a folder", "[squad_reader]") {
  const lightning_tests::TemporaryFolder folder;
  CHECK_THROWS_WITH(read_squad(folder.path()), Contains("is a folder, expected a file") &&
                                                   Contains("HINT: give a file in it"));
}

TEST_CASE("SQuAD reader fails when no question is left", "[squad_reader]") {
  const SquadReaderOptions skip = {.on_bad_example = OnBadExample::kSkip};
  CHECK_THROWS_WITH(
      read(with_answer("lake", "15"), skip),
      Contains("1 bad question among 1 question") && Contains("no question can be used"));
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

TEST_CASE("SQuAD reader looks at no answers for prediction", "[squad_reader]") {
  const char* const answers[] = {
      "",
      R"(, "answers": [])",
      R"(, "answers": null)",
      R"(, "answers": NaN)",
      R"(, "answers": 5)",
      R"(, "answers": [{"text": "lake"}])",
      R"(, "answers": [{"text": "", "answer_start": 0}], "is_impossible": true)",
      R"(, "answers": [{"text": "river", "answer_start": "x"}], "is_impossible": "maybe")"};
  for (const char* answer : answers) {
    INFO(answer);
    const SquadData data =
        read(with_questions(lightning::format(R"({{"id": 1, "question": "?"{}}})", answer)),
             {.answers = AnswerUse::kNone});
    CHECK(ids_of(data) == std::vector<std::string>{"1"});
  }
}
