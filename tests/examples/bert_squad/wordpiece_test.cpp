// Behaviour that shows without Python; equality with the pinned package is tested by
// tests/parity/tokenizer_parity.py.
#include "examples/bert_squad/wordpiece.h"

#include <filesystem>
#include <fstream>
#include <ostream>
#include <set>
#include <string>
#include <vector>

#include <lightning/util/error.h>
#include <catch2/catch.hpp>

#include "examples/bert_squad/vocab_trie.h"
#include "support/temporary_folder.h"

namespace bert_squad {

// How failed checks show these.
std::ostream& operator<<(std::ostream& out, const Offset& offset) {
  return out << "[" << offset.begin << ", " << offset.end << ")";
}

std::ostream& operator<<(std::ostream& out, const Encoding& encoding) {
  for (size_t i = 0; i < encoding.ids.size(); ++i) {
    out << encoding.ids[i] << encoding.offsets[i] << " ";
  }
  return out;
}

}  // namespace bert_squad

namespace {

namespace fs = std::filesystem;
using namespace bert_squad;
using Catch::Contains;
using lightning::DataError;

const std::vector<std::string> kVocab = {
    "[PAD]", "[UNK]", "[CLS]", "[SEP]",     "[MASK]", "un",  "##aff",  "##able", "##a",
    "##ab",  "cafe",  "café",  "Caf\u00e9", ",",      "#",   "hello",  "world",  "日",
    "日本",  "the",   "##s",   "[",         "]",      "sep", "i\u0307"};

int32_t id_of(const std::string& token) {
  for (size_t i = 0; i < kVocab.size(); ++i) {
    if (kVocab[i] == token) return static_cast<int32_t>(i);
  }
  return -1;
}

std::vector<std::string> tokens(const WordPieceTokenizer& tokenizer, const std::string& text) {
  std::vector<std::string> result;
  for (const int32_t id : tokenizer.encode(text).ids) result.push_back(tokenizer.token(id));
  return result;
}

using Strings = std::vector<std::string>;

void write(const fs::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

std::string lines(const Strings& tokens, const char* end = "\n") {
  std::string text;
  for (const std::string& token : tokens) text += token + end;
  return text;
}

TEST_CASE("WordPiece takes the longest piece first and falls back to unknown", "[wordpiece]") {
  const WordPieceTokenizer tokenizer(kVocab, {});
  CHECK(tokens(tokenizer, "unaffable") == Strings{"un", "##aff", "##able"});
  CHECK(tokens(tokenizer, "unaab") == Strings{"un", "##a", "##ab"});
  // The longest piece leaves "l", which no piece continues: the whole word is unknown.
  CHECK(tokens(tokenizer, "unabl") == Strings{"[UNK]"});
  CHECK(tokens(tokenizer, "The worlds, hello") == Strings{"the", "world", "##s", ",", "hello"});
}

TEST_CASE("Offsets are code points of the text as it was given", "[wordpiece]") {
  const WordPieceTokenizer tokenizer(kVocab, {});
  const Encoding encoding = tokenizer.encode("日本 Cafe\u0301s, \u200bHELLO");
  CHECK(encoding.ids == std::vector<int32_t>{id_of("日"), 1, id_of("cafe"), id_of("##s"),
                                             id_of(","), id_of("hello")});
  CHECK(encoding.offsets == std::vector<Offset>{{0, 1}, {1, 2}, {3, 7}, {8, 9}, {9, 10}, {12, 17}});
}

TEST_CASE("Case, accents and Chinese characters follow the options", "[wordpiece]") {
  const std::string text = "CAF\u00c9 Caf\u00e9 日本 \u0130";
  const auto with = [&](WordPieceOptions options) { return tokens({kVocab, options}, text); };
  CHECK(with({}) == Strings{"cafe", "cafe", "日", "[UNK]", "[UNK]"});
  CHECK(with({.strip_accents = false}) == Strings{"café", "café", "日", "[UNK]", "i\u0307"});
  CHECK(with({.lowercase = false}) == Strings{"[UNK]", "Café", "日", "[UNK]", "[UNK]"});
  CHECK(with({.tokenize_chinese_chars = false}) == Strings{"cafe", "cafe", "日本", "[UNK]"});
}

TEST_CASE("Special tokens in a text are kept whole, wherever they stand", "[wordpiece]") {
  const WordPieceTokenizer tokenizer(kVocab, {});
  const Encoding encoding = tokenizer.encode("hello[SEP]world [MASK]\u00e9[sep]");
  CHECK(encoding.ids == std::vector<int32_t>{id_of("hello"), tokenizer.sep_id(), id_of("world"),
                                             tokenizer.mask_id(), 1, id_of("["), id_of("sep"),
                                             id_of("]")});
  CHECK(encoding.offsets[1] == Offset{5, 10});
  CHECK(encoding.offsets[3] == Offset{16, 22});
  CHECK(tokens(tokenizer, "[SEP][SEP] [CLS]") == Strings{"[SEP]", "[SEP]", "[CLS]"});
}

TEST_CASE("A text of many special tokens is read in linear time", "[wordpiece]") {
  const WordPieceTokenizer tokenizer(kVocab, {});
  std::string text;
  for (int i = 0; i < 200000; ++i) text += "[SEP]";
  CHECK(tokenizer.encode(text).ids.size() == 200000);
}

TEST_CASE("Words of more than 100 characters are unknown", "[wordpiece]") {
  Strings vocab = kVocab;
  vocab.insert(vocab.end(), {"a", "\u0431", "##\u0431"});
  const WordPieceTokenizer tokenizer(vocab, {});
  CHECK(tokenizer.encode(std::string(100, 'a')).ids.size() == 100);
  const Encoding encoding = tokenizer.encode(" " + std::string(101, 'a'));
  CHECK(encoding.ids == std::vector<int32_t>{tokenizer.unk_id()});
  CHECK(encoding.offsets == std::vector<Offset>{{1, 102}});
  std::string cyrillic;
  for (int i = 0; i < 100; ++i) cyrillic += "\u0431";  // 200 bytes
  CHECK(tokenizer.encode(cyrillic).ids.size() == 100);
  CHECK(tokenizer.encode(cyrillic + "\u0431").ids.size() == 1);
}

TEST_CASE("Empty and blank texts have no tokens", "[wordpiece]") {
  const WordPieceTokenizer tokenizer(kVocab, {});
  for (const std::string text : {"", " ", "\t\r\n", "\u0301", "\u200b\ufeff"}) {
    CHECK(tokenizer.encode(text).ids.empty());
    CHECK(tokenizer.encode(text).offsets.empty());
  }
}

TEST_CASE("encode_all gives the same on any number of threads", "[wordpiece]") {
  const WordPieceTokenizer tokenizer(kVocab, {});
  Strings texts;
  for (int i = 0; i < 500; ++i) {
    texts.push_back(std::string(static_cast<size_t>(i % 7), ' ') + "unaffable Cafe\u0301, world");
  }
  const auto expected = tokenizer.encode_all(texts, 1);
  REQUIRE(expected.size() == texts.size());
  CHECK(expected[3] == tokenizer.encode(texts[3]));
  for (const int threads : {0, 2, 8}) CHECK(tokenizer.encode_all(texts, threads) == expected);
  CHECK(tokenizer.encode_all({}, 4).empty());
}

TEST_CASE("encode_all names the first text that is not UTF-8", "[wordpiece]") {
  const WordPieceTokenizer tokenizer(kVocab, {});
  Strings texts(100, "hello");
  texts[40] = "caf\xe9";
  texts[90] = "\xff";
  CHECK_THROWS_AS(tokenizer.encode_all(texts, 3), DataError);
  CHECK_THROWS_WITH(tokenizer.encode_all(texts, 3), Contains("text 40") && Contains("byte 3"));
  CHECK_THROWS_WITH(tokenizer.encode("hello caf\xe9"), Contains("byte 9") && Contains("HINT"));
}

TEST_CASE("A vocabulary that can't be used is an error with a hint", "[wordpiece]") {
  for (const std::string missing : {"[CLS]", "[SEP]", "[PAD]", "[UNK]"}) {
    Strings vocab = kVocab;
    std::erase(vocab, missing);
    CHECK_THROWS_WITH(WordPieceTokenizer(vocab, {}), Contains(missing) && Contains("HINT"));
    CHECK_THROWS_AS(WordPieceTokenizer(vocab, {}), DataError);
  }
  Strings twice = kVocab;
  twice.push_back("hello");
  CHECK_THROWS_WITH(WordPieceTokenizer(twice, {}),
                    Contains("\"hello\" is on lines 16 and 26") && Contains("HINT"));
  CHECK_THROWS_WITH(WordPieceTokenizer({}, {}), Contains("is empty") && Contains("HINT"));
  Strings bad = kVocab;
  bad.push_back("\xff");
  CHECK_THROWS_WITH(WordPieceTokenizer(bad, {}), Contains("line 26") && Contains("UTF-8"));
  bad.back() = "two\nlines";
  CHECK_THROWS_WITH(WordPieceTokenizer(bad, {}), Contains("line break"));
}

TEST_CASE("A vocabulary without [MASK] has no mask id", "[wordpiece]") {
  Strings vocab = kVocab;
  std::erase(vocab, "[MASK]");
  const WordPieceTokenizer tokenizer(vocab, {});
  CHECK(tokenizer.mask_id() == -1);
  CHECK(tokenizer.encode("[MASK]").ids.size() == 3);
}

TEST_CASE("Token ids outside the vocabulary are errors", "[wordpiece]") {
  const WordPieceTokenizer tokenizer(kVocab, {});
  CHECK(tokenizer.vocab_size() == static_cast<int64_t>(kVocab.size()));
  CHECK(tokenizer.token(2) == "[CLS]");
  CHECK_THROWS_WITH(tokenizer.token(25), Contains("is 25") && Contains("0 to 24"));
  CHECK_THROWS_AS(tokenizer.token(-1), DataError);
}

TEST_CASE("from_folder reads the vocabulary and the settings", "[wordpiece]") {
  const lightning_tests::TemporaryFolder folder;
  Strings vocab = kVocab;
  for (std::string& token : vocab) {
    if (token == "[SEP]") token = "<s>";
  }
  write(folder / "vocab.txt", lines(vocab, "\r\n"));
  SECTION("without tokenizer_config.json the defaults hold") {
    CHECK_THROWS_WITH(WordPieceTokenizer::from_folder(folder.path()),
                      Contains("vocab.txt") && Contains("sep_token \"[SEP]\""));
  }
  SECTION("special tokens are strings or objects") {
    write(folder / "tokenizer_config.json",
          R"({"do_lower_case": false, "strip_accents": true, "mask_token": null,
                     "tokenize_chinese_chars": false, "unk_token": "[UNK]",
                     "sep_token": {"content": "<s>", "lstrip": false},
                     "added_tokens_decoder": {"3": {"content": "<s>"}}, "never_split": null})");
    // As Python's AddedToken("<s>") is: found in the normalized text.
    const auto tokenizer = WordPieceTokenizer::from_folder(folder.path());
    const WordPieceOptions expected = {.lowercase = false,
                                       .strip_accents = true,
                                       .tokenize_chinese_chars = false,
                                       .sep_token = "<s>",
                                       .mask_token = "",
                                       .added_tokens = {{.content = "<s>", .normalized = true}}};
    CHECK(tokenizer.options() == expected);
    CHECK(tokenizer.sep_id() == 3);
    CHECK(tokens(tokenizer, "hello<s>") == Strings{"hello", "<s>"});
  }
}

TEST_CASE("White space at the end of a line of vocab.txt is no part of the token", "[wordpiece]") {
  const lightning_tests::TemporaryFolder folder;
  const auto load = [&] { return WordPieceTokenizer::from_folder(folder.path()); };
  write(folder / "vocab.txt", lines(kVocab));
  const auto ids = load().encode("hello").ids;
  for (const char* space : {" ", "\t", " \r", "\u0085", "\u00A0", "\u3000", "\u2028", "\u2003 "}) {
    write(folder / "vocab.txt", lines(kVocab, (std::string(space) + "\n").c_str()));
    const auto tokenizer = load();
    CHECK(tokenizer.encode("hello").ids == ids);
    for (size_t id = 0; id < kVocab.size(); ++id) {
      CHECK(tokenizer.token(static_cast<int32_t>(id)) == kVocab[id]);
    }
  }
  write(folder / "vocab.txt", lines(kVocab) + "\u3000kept\n");
  CHECK(load().token(static_cast<int32_t>(kVocab.size())) == "\u3000kept");
  write(folder / "vocab.txt", "\uFEFF" + lines(kVocab));
  CHECK_THROWS_WITH(load(),
                    Contains("vocab.txt") && Contains("byte order mark") && Contains("HINT"));
}

TEST_CASE("Damaged tokenizer files are errors that name the file", "[wordpiece]") {
  const lightning_tests::TemporaryFolder folder;
  const auto load = [&] { return WordPieceTokenizer::from_folder(folder.path()); };
  CHECK_THROWS_WITH(load(), Contains("vocab.txt") && Contains("no such file") &&
                                Contains("tokenizer.json") && Contains("HINT"));
  fs::create_directory(folder / "vocab.txt");
  CHECK_THROWS_WITH(load(), Contains("vocab.txt") && Contains("expected a regular file"));
  fs::remove(folder / "vocab.txt");
  write(folder / "vocab.txt", "");
  CHECK_THROWS_WITH(load(), Contains("vocab.txt") && Contains("is empty"));
  write(folder / "vocab.txt", lines(kVocab));
  CHECK_NOTHROW(load());
  for (const std::string config :
       {"{\"do_lower_case\": tru", "[1, 2]", "{\"do_lower_case\": 3}",
        "{\"strip_accents\": \"no\"}", "{\"cls_token\": 7}",
        "{\"cls_token\": {\"text\": \"[CLS]\"}}", "\xff",
        "{\"added_tokens_decoder\": {\"26\": {\"content\": \"<new>\"}}}"}) {
    INFO(config);
    write(folder / "tokenizer_config.json", config);
    CHECK_THROWS_AS(load(), DataError);
    CHECK_THROWS_WITH(load(), Contains("tokenizer_config.json: ") && Contains("HINT"));
  }
}

TEST_CASE("save writes what from_folder reads back as an equal tokenizer", "[wordpiece]") {
  const lightning_tests::TemporaryFolder folder;
  Strings vocab = kVocab;
  vocab.push_back("");  // an empty line is a token, too
  vocab.push_back("<s>");
  const WordPieceOptions options = {
      .lowercase = false,
      .strip_accents = true,
      .cls_token = "<s>",
      .mask_token = "",
      .added_tokens = {{.content = "un"}, {.content = "<q>", .lstrip = true, .normalized = true}}};
  const WordPieceTokenizer original(vocab, options);
  original.save(folder.path());
  const auto copy = WordPieceTokenizer::from_folder(folder.path());
  CHECK(copy.options() == options);
  REQUIRE(copy.vocab_size() == original.vocab_size());
  for (int32_t id = 0; id < copy.vocab_size(); ++id) CHECK(copy.token(id) == original.token(id));
  CHECK(copy.cls_id() == 26);
  CHECK(copy.token(27) == "<q>");
  CHECK(copy.encode("unaffable <s> <q>").ids.back() == 27);
  CHECK(copy.encode("unaffable <s> <q>") == original.encode("unaffable <s> <q>"));
  CHECK_THROWS_WITH(original.save(folder / "none"), Contains("none") && Contains("HINT"));
}

TEST_CASE("The vocabulary's trie finds each string and only those", "[wordpiece]") {
  Strings strings;
  std::set<std::string> known;
  uint32_t state = 1;
  for (int i = 0; i < 20000; ++i) {
    std::string text;
    state = state * 1664525U + 1013904223U;
    for (uint32_t bits = state >> 8; bits > 0; bits /= 41) text += static_cast<char>(bits % 41 * 6);
    if (known.insert(text).second) strings.push_back(text);
  }
  const VocabTrie trie(strings);
  int64_t failures = 0;
  for (size_t i = 0; i < strings.size(); ++i) {
    failures += trie.id(trie.walk(VocabTrie::kRoot, strings[i])) != static_cast<int32_t>(i);
    // The longest of all prefixes, looked up one by one.
    const std::string text = strings[i].substr(0, strings[i].size() - 1) + "\x01\x02";
    size_t longest = text.size();
    while (longest > 0 && !known.contains(text.substr(0, longest))) --longest;
    failures += trie.longest(VocabTrie::kRoot, text).size != longest;
  }
  CHECK(failures == 0);
}

}  // namespace
