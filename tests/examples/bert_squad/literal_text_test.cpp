#include "examples/bert_squad/literal_text.h"

#include <random>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include <lightning/util/format.h>

using bert_squad::Literal;
using bert_squad::LiteralError;
using bert_squad::parse_literal;
using Catch::Matchers::Contains;
using Notation = bert_squad::LiteralParser::Notation;

namespace {

using nlohmann::json;

std::string random_text(std::mt19937& random) {
  static const std::vector<std::string> parts = {"a", "\"", "\\", "/",    "\n", "\t",
                                                 "é", "日", "😀",  "\x01", "'",  " "};
  std::string text;
  for (auto i = random() % 6; i > 0; --i) text += parts[random() % parts.size()];
  return text;
}

json random_value(std::mt19937& random, int depth) {
  switch (random() % (depth > 0 ? 8 : 6)) {
    case 0:
      return nullptr;
    case 1:
      return random() % 2 == 0;
    case 2:
      return static_cast<int64_t>(random()) - 2000000000;
    case 3:
      return static_cast<double>(random()) / 1e7;
    case 4:
    case 5:
      return random_text(random);
    case 6: {
      json list = json::array();
      for (auto i = random() % 4; i > 0; --i) list.push_back(random_value(random, depth - 1));
      return list;
    }
    default: {
      json object = json::object();
      for (auto i = random() % 4; i > 0; --i) {
        object[random_text(random)] = random_value(random, depth - 1);
      }
      return object;
    }
  }
}

json as_json(const Literal& value) {
  switch (value.kind) {
    case Literal::Kind::kNull:
      return nullptr;
    case Literal::Kind::kBool:
      return value.boolean;
    case Literal::Kind::kNumber:
      return json::parse(value.text);
    case Literal::Kind::kText:
      return value.text;
    case Literal::Kind::kList: {
      json list = json::array();
      for (const Literal& item : value.items) list.push_back(as_json(item));
      return list;
    }
    case Literal::Kind::kObject:
      break;
  }
  json object = json::object();
  for (size_t i = 0; i < value.keys.size(); ++i) object[value.keys[i]] = as_json(value.items[i]);
  return object;
}

}  // namespace

TEST_CASE("JSON is read as nlohmann::json reads it", "[literal_text]") {
  std::mt19937 random(1);
  for (int i = 0; i < 2000; ++i) {
    const json value = random_value(random, 4);
    const std::string text = value.dump(static_cast<int>(random() % 3) - 1, ' ', random() % 2 == 0);
    INFO(text);
    CHECK(as_json(parse_literal(text, Notation::kJson)) == value);
    // Cut or changed in one byte: refused by both, or read alike by both.
    std::string other = text;
    if (i % 2 == 0)
      other.resize(random() % text.size());
    else
      other[random() % other.size()] = "\"\\{}[],:0a\n"[random() % 11];
    const json expected = json::parse(other, nullptr, /*allow_exceptions=*/false);
    try {
      const json read = as_json(parse_literal(other, Notation::kJson));
      if (!expected.is_discarded()) CHECK(read == expected);
      // What nlohmann::json refuses beyond the grammar is invalid UTF-8, which files are checked
      // for.
      else
        CHECK(json::parse(other, nullptr, false).is_discarded());
    } catch (const LiteralError&) {
      CHECK(expected.is_discarded());
    }
  }
}

TEST_CASE("Numbers keep their digits, and NaN is a missing value", "[literal_text]") {
  for (const char* number :
       {"0", "-1", "123456789012345678901234567890", "11.0", "1e5", "-0.5E-3"}) {
    const Literal value = parse_literal(number, Notation::kJson);
    CHECK(value.is(Literal::Kind::kNumber));
    CHECK(value.text == number);
  }
  for (const char* missing : {"NaN", "Infinity", "-Infinity", "null"}) {
    CHECK(parse_literal(missing, Notation::kJson).is(Literal::Kind::kNull));
  }
  for (const char* wrong :
       {"01", "-", "+1", "1.", ".5", "1e", "nan", "None", "-nan", "NaNs", "True"}) {
    INFO(wrong);
    CHECK_THROWS_AS(parse_literal(wrong, Notation::kJson), LiteralError);
  }
}

TEST_CASE("Values of Python are read", "[literal_text]") {
  struct Case {
    const char* text;
    json expected;
  };
  const std::vector<Case> cases = {
      {"{'text': ['a'], 'answer_start': [1]}", {{"text", {"a"}}, {"answer_start", {1}}}},
      {R"(["it's", 'say "x"', 'b\'s', '\n\t\\', '\xe9\u65e5\U0001f600'])",
       {"it's", "say \"x\"", "b's", "\n\t\\", "é日😀"}},
      {"{'text': array(['a b', 'c'],\n      dtype=object), 'answer_start': array([1, 20], "
       "dtype=int32)}",
       {{"text", {"a b", "c"}}, {"answer_start", {1, 20}}}},
      {"array([], dtype=object)", json::array()},
      {"array(['a'], dtype='<U1')", {"a"}},
      {"array([], shape=(0, 2), dtype=float64)", json::array()},
      {"[np.int64(3), np.str_('x')]", {3, "x"}},
      {"('a',)", {"a"}},
      {"(1, 2)", {1, 2}},
      {"()", json::array()},
      {"[None, True, False, nan, inf, -inf]", {nullptr, true, false, nullptr, nullptr, nullptr}},
  };
  for (const Case& one : cases) {
    INFO(one.text);
    CHECK(as_json(parse_literal(one.text, Notation::kPython)) == one.expected);
  }
  for (const char* wrong :
       {"['a' 'b']", "array(['a', ..., 'b'])", "{'a'}", "[1", "x", "f(", "'a", "[1,,]", "f()"}) {
    INFO(wrong);
    CHECK_THROWS_AS(parse_literal(wrong, Notation::kPython), LiteralError);
  }
}

TEST_CASE("What is nested too deeply is refused in either notation", "[literal_text]") {
  for (const Notation notation : {Notation::kJson, Notation::kPython}) {
    for (const char* part : {"[", "{\"a\":", "(", "f("}) {
      if (notation == Notation::kJson && (part[0] == '(' || part[0] == 'f')) continue;
      std::string text;
      for (int i = 0; i < 100000; ++i) text += part;
      CHECK_THROWS_WITH(parse_literal(text, notation), Contains("nested deeper than 128 levels"));
    }
  }
  const std::string deep = std::string(128, '[') + std::string(128, ']');
  CHECK_NOTHROW(parse_literal(deep, Notation::kJson));
  CHECK_THROWS_AS(parse_literal("[" + deep + "]", Notation::kJson), LiteralError);
}

TEST_CASE("The last of equal keys counts, as in Python", "[literal_text]") {
  const Literal value = parse_literal(R"({"a": 1, "b": 2, "a": 3})", Notation::kJson);
  CHECK(value.find("a")->text == "3");
  CHECK(value.find("c") == nullptr);
}
