// What a tokenizer's folder may hold: each setting is used, known to be without effect, or refused
// by name. Equality with transformers is tested by tests/parity/tokenizer_folders_parity.py.
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <lightning/util/error.h>
#include <lightning/util/file_system.h>
#include <catch2/catch.hpp>

#include "examples/bert_squad/harmless_settings.h"
#include "examples/bert_squad/wordpiece.h"
#include "support/temporary_folder.h"

namespace {

using bert_squad::WordPieceTokenizer;
using Catch::Contains;
using lightning::DataError;

constexpr const char* kVocabText = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nab\n##c\nAb\nd\n";

constexpr const char* kJson = R"({
  "version": "1.0",
  "truncation": null,
  "padding": null,
  "added_tokens": [
    {"id": 2, "content": "[CLS]", "single_word": false, "lstrip": false, "rstrip": false,
     "normalized": false, "special": true}],
  "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                 "strip_accents": null, "lowercase": true},
  "pre_tokenizer": {"type": "BertPreTokenizer"},
  "post_processor": {"type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}},
               {"Sequence": {"id": "A", "type_id": 0}},
               {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
    "pair": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}},
             {"Sequence": {"id": "A", "type_id": 0}},
             {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
             {"Sequence": {"id": "B", "type_id": 1}},
             {"SpecialToken": {"id": "[SEP]", "type_id": 1}}],
    "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
                       "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}}},
  "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
  "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, "ab": 5,
                      "##c": 6, "Ab": 7, "d": 8}}
})";

constexpr const char* kAsIs = R"({"tokenizer_class": "PreTrainedTokenizerFast",
  "model_input_names": ["input_ids", "token_type_ids", "attention_mask"]})";

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

class Folder {
 public:
  void write(const char* name, const std::string& text) const {
    std::ofstream(folder_ / name, std::ios::binary) << text;
  }
  WordPieceTokenizer load() const { return WordPieceTokenizer::from_folder(folder_.path()); }
  std::vector<int32_t> ids(const std::string& text) const { return load().encode(text).ids; }
  /// As in "0-2 5-13".
  std::string offsets(const std::string& text) const {
    std::string shown;
    for (const auto& [begin, end] : load().encode(text).offsets) {
      shown += lightning::detail::concat(shown.empty() ? "" : " ", begin, "-", end);
    }
    return shown;
  }
  void check_refused(const std::string& message, const char* file) const {
    CAPTURE(message, file);
    CHECK_THROWS_AS(load(), DataError);
    CHECK_THROWS_WITH(
        load(), Contains(message) && Contains(file) && Contains("expected") && Contains("HINT: "));
  }
  lightning_tests::TemporaryFolder& folder() { return folder_; }

 private:
  lightning_tests::TemporaryFolder folder_;
};

struct Refused {
  std::string from;
  std::string to;
  std::string message;
};

TEST_CASE("tokenizer.json alone makes a tokenizer", "[tokenizer_folder]") {
  const Folder folder;
  folder.write("tokenizer.json", kJson);
  CHECK(folder.ids("AB abc D [SEP]") == std::vector<int32_t>{5, 5, 6, 8, 3});
  CHECK(folder.load().vocab_size() == 9);
  CHECK(folder.load().cls_id() == 2);
  // What a checkpoint keeps of it is the file itself.
  const auto files = folder.load().files();
  REQUIRE(files.size() == 1);
  CHECK(files[0].first == "tokenizer.json");
  CHECK(files[0].second == kJson);
  // With a Sequence of one, a BertProcessing, a model without type, what was cut and padded.
  std::string text = replaced(kJson, R"({"type": "BertPreTokenizer"})",
                              R"({"type": "Sequence", "pretokenizers":
                                  [{"type": "BertPreTokenizer"}]})");
  text = replaced(text, R"("type": "WordPiece", "unk)", R"("unk)");
  text = replaced(text, R"("truncation": null)",
                  R"("truncation": {"max_length": 4, "strategy": "LongestFirst", "stride": 1,
                                    "direction": "Right"})");
  text = replaced(text, R"("padding": null)",
                  R"("padding": {"strategy": {"Fixed": 4}, "direction": "Right", "pad_id": 0,
                      "pad_to_multiple_of": 8, "pad_type_id": 0, "pad_token": "[PAD]"})");
  const size_t begin = text.find(R"({"type": "TemplateProcessing")");
  text.replace(begin, text.find(R"(  "decoder")") - begin,
               R"({"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},)");
  folder.write("tokenizer.json", text);
  CHECK(folder.ids("AB abc D ab ab ab") == std::vector<int32_t>{5, 5, 6, 8, 5, 5, 5});
}

TEST_CASE("A tokenizer.json that isn't BERT's is refused by the setting's name",
          "[tokenizer_folder]") {
  const std::vector<Refused> rows = {
      {R"("version": "1.0")", R"("version": "2.0")", R"("version" is "2.0")"},
      {R"("truncation": null)", R"("truncation": {"direction": "Left"})",
       R"("truncation.direction" is "Left")"},
      {R"("padding": null)", R"("padding": {"direction": "Left"})",
       R"("padding.direction" is "Left")"},
      {R"("padding": null)", R"("padding": {"pad_type_id": 1})", R"("padding.pad_type_id" is 1)"},
      {R"("padding": null)", R"("padding": {"pad_id": 1, "pad_token": "[PAD]"})", "is 1 in"},
      {R"("padding": null)", R"("padding": {"pad_id": 1, "pad_token": "d"})", "the pad_token is"},
      {R"("padding": null)", R"("padding": {"side": 1})", R"("padding.side" is 1)"},
      {R"("single_word": false)", R"("single_word": true)",
       R"("added_tokens.0.single_word" is true)"},
      {R"("special": true)", R"("special": true, "weight": 2)", R"("added_tokens.0.weight" is 2)"},
      {R"({"id": 2, "content")", R"({"id": 3, "content")", R"(the added token "[CLS]" is 3)"},
      {R"({"id": 2, "content": "[CLS]")", R"({"id": 10, "content": "new")",
       R"(the added token "new" is 10, expected 9)"},
      {R"({"id": 2, "content")", R"({"content")", "expected tokens that have an \"id\""},
      {R"("type": "BertNormalizer")", R"("type": "Lowercase")",
       R"("normalizer.type" is "Lowercase")"},
      {R"("type": "BertNormalizer")", R"("type": "Sequence", "normalizers": [1, 2])",
       R"("normalizer.)"},
      {R"("clean_text": true)", R"("clean_text": false)", R"("normalizer.clean_text" is false)"},
      {R"("lowercase": true)", R"("lowercase": "yes")", R"("normalizer.lowercase" is "yes")"},
      {R"("lowercase": true)", R"("lowercase": true, "form": "NFC")",
       R"("normalizer.form" is "NFC")"},
      // transformers' BertTokenizer lowers the case without asking this file.
      {R"("lowercase": true)", R"("lowercase": false)", R"("normalizer.lowercase" is false)"},
      {R"("handle_chinese_chars": true)", R"("handle_chinese_chars": false)",
       R"("normalizer.handle_chinese_chars" is false)"},
      {R"("strip_accents": null)", R"("strip_accents": false)",
       R"("normalizer.strip_accents" is false)"},
      {R"("type": "BertPreTokenizer")", R"("type": "Whitespace")",
       R"("pre_tokenizer.type" is "Whitespace")"},
      {R"({"type": "BertPreTokenizer"})", "null", R"("pre_tokenizer" is null)"},
      {R"("type": "TemplateProcessing")", R"("type": "RobertaProcessing")",
       R"("post_processor.type" is "RobertaProcessing")"},
      {R"({"Sequence": {"id": "B", "type_id": 1}})", R"({"Sequence": {"id": "B", "type_id": 0}})",
       R"("post_processor.pair" is [)"},
      {R"("pair": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}},)", R"("pair": [)",
       R"("post_processor.pair" is [)"},
      {R"("pair": [{"SpecialToken": )", R"("pair": [{"SpecialToken": [], "a": )",
       R"("post_processor.pair" is [)"},
      {R"("single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}},)", R"("single": [)",
       R"("post_processor.single" is [)"},
      {R"("ids": [2])", R"("ids": [2, 3])", R"("post_processor.special_tokens" is)"},
      {R"("ids": [2])", R"("ids": [4])", R"(the id of "[CLS]" is 4)"},
      {R"("model": {"type": "WordPiece")", R"("model": {"type": "BPE")",
       R"("model.type" is "BPE")"},
      {R"("unk_token": "[UNK]")", R"("unk_token": "d")", "the unk_token is \"d\""},
      {R"("max_input_chars_per_word": 100)", R"("max_input_chars_per_word": 20)",
       R"("model.max_input_chars_per_word" is 20)"},
      {R"("max_input_chars_per_word": 100)", R"("max_input_chars_per_word": 1000000000000)",
       R"("model.max_input_chars_per_word" is 1000000000000)"},
      {R"("continuing_subword_prefix": "##")", R"("continuing_subword_prefix": "@@")",
       R"("model.continuing_subword_prefix" is "@@")"},
      {R"("continuing_subword_prefix": "##")", R"("continuing_subword_prefix": "##", "dropout": 1)",
       R"("model.dropout" is 1)"},
      {R"("d": 8})", R"("d": 9})", R"(the id of token "d" in "model.vocab" is 9)"},
      {R"("d": 8})", R"("d": 7})", R"(in "model.vocab" have the same id 7)"},
      {R"("d": 8})", R"("d": -1})", R"(is -1)"},
      {R"("d": 8})", R"("d": 8.5})", R"(is 8.5)"},
      {R"("d": 8})", R"("d": 18446744073709551615})", R"(is 18446744073709551615)"},
      {R"("d": 8})", R"("ab": 8})", R"(the key "ab" is there twice)"},
      {R"("vocab": {)", R"("vocab": [], "v": {)", R"("model.vocab" is [])"},
      {R"("decoder")", R"("extra": 1, "decoder")", R"("extra" is 1)"},
      {R"("decoder": {)",
       R"("decoder": )" + std::string(50, '[') + std::string(50, ']') + R"(, "x": {)",
       "levels deep"},
  };
  for (const auto& [from, to, message] : rows) {
    const Folder folder;
    folder.write("tokenizer.json", replaced(kJson, from, to));
    folder.check_refused(message, "tokenizer.json");
  }
}

TEST_CASE("tokenizer_config.json's settings are refused by name when they can't be kept",
          "[tokenizer_folder]") {
  const std::vector<std::pair<std::string, std::string>> rows = {
      {R"("tokenizer_class": "BertJapaneseTokenizer")", "\"tokenizer_class\" is"},
      {R"("tokenizer_class": "DistilBertTokenizer")", "\"tokenizer_class\" is"},
      {R"("tokenizer_class": "PreTrainedTokenizerFast")", "\"model_input_names\" is missing"},
      {R"("model_input_names": ["input_ids", "attention_mask"])", "\"model_input_names\" is ["},
      {R"("word_tokenizer_type": "mecab")", "\"word_tokenizer_type\" is \"mecab\""},
      {R"("subword_tokenizer_type": "character")", "\"subword_tokenizer_type\" is"},
      {R"("do_basic_tokenize": false)", "\"do_basic_tokenize\" is false"},
      {R"("never_split": ["ab"])", "\"never_split\" is [\"ab\"]"},
      {R"("clean_text": false)", "\"clean_text\" is false"},
      {R"("wordpieces_prefix": "@@")", "\"wordpieces_prefix\" is \"@@\""},
      {R"("split_special_tokens": true)", "\"split_special_tokens\" is true"},
      {R"("add_prefix_space": true)", "\"add_prefix_space\" is true"},
      {R"("padding_side": "left")", "\"padding_side\" is \"left\""},
      {R"("truncation_side": "left")", "\"truncation_side\" is \"left\""},
      {R"("pad_token_type_id": 1)", "\"pad_token_type_id\" is 1"},
      {R"("auto_map": {"AutoTokenizer": ["a.B", null]})", "\"auto_map\" is"},
      {R"("init_inputs": [1])", "\"init_inputs\" is [1]"},
      {R"("fast_tokenizer_files": ["tokenizer.4.0.json"])", "\"fast_tokenizer_files\" is"},
      {R"("do_lower_case": "yes")", "\"do_lower_case\" is \"yes\""},
      {R"("cls_token": null)", "\"cls_token\" is null"},
      {R"("cls_token": "<s>")", "the special token \"<s>\" is neither"},
      {R"("mask_token": "<mask>")", "the special token \"<mask>\" is neither"},
      {R"("eos_token": "<end>")", "the special token \"<end>\" is neither"},
      {R"("image_token": "<image>")", "the special token \"<image>\" is neither"},
      {R"("additional_special_tokens": ["<q>"])", "the special token \"<q>\" is neither"},
      {R"("extra_special_tokens": {"q_token": "<q>"})", "the special token \"<q>\" is neither"},
      {R"("additional_special_tokens": "<q>")", "\"additional_special_tokens\" is \"<q>\""},
      {R"("added_tokens_decoder": {"9": {"content": "x", "single_word": true}})", "single_word\""},
      {R"("added_tokens_decoder": {"5": {"content": "d"}})", "\"d\" is 5, but 8 in"},
      {R"("added_tokens_decoder": {"11": {"content": "x"}})", "\"x\" is 11, expected 9"},
      {R"("added_tokens_decoder": {"-1": {"content": "x"}})", "\"-1\""},
      {R"("added_tokens_decoder": {"9": {"content": ""}})", "added token has 0 bytes"},
      {R"("added_tokens_decoder": {"9": {"content": "\u0301"}})", "empty after normalization"},
      {R"("added_tokens_decoder": {"9": {"content": "x"}, "10": {"content": "X"}})",
       "the same after normalization"},
      {R"("added_tokens_decoder": {"9": {"content": "x"}, "10": {"content": "x"}})", "there twice"},
      {R"("lowercase": true)", "\"lowercase\" is true"},
      {R"("no_such_setting": [1])", "\"no_such_setting\" is [1]"},
  };
  for (const auto& [setting, message] : rows) {
    const Folder folder;
    folder.write("vocab.txt", kVocabText);
    folder.write("tokenizer_config.json", lightning::detail::concat("{", setting, "}"));
    CAPTURE(setting);
    folder.check_refused(message, "");
  }
  const Folder folder;
  folder.write("vocab.txt", kVocabText);
  folder.write("tokenizer_config.json", kAsIs);
  folder.check_refused("uses tokenizer.json as it is", "tokenizer_config.json");
}

TEST_CASE("Settings without effect, null and what says nothing are taken", "[tokenizer_folder]") {
  const Folder folder;
  folder.write("vocab.txt", kVocabText);
  for (const auto& setting : bert_squad::harmless_tokenizer_settings()) {
    CAPTURE(setting.name);
    folder.write("tokenizer_config.json",
                 lightning::detail::concat("{\"", setting.name, "\": [\"any\"]}"));
    CHECK(folder.ids("Abc") == std::vector<int32_t>{5, 6});
  }
  folder.write("tokenizer_config.json",
               R"({"never_split": null, "no_such_setting": null, "auto_map": {}, "init_inputs": [],
                   "bos_token": null, "additional_special_tokens": [], "extra_special_tokens": {},
                   "do_basic_tokenize": true, "padding_side": "right", "tokenizer_class": null})");
  CHECK(folder.ids("Abc") == std::vector<int32_t>{5, 6});
}

TEST_CASE("Two files that contradict each other are an error that names both",
          "[tokenizer_folder]") {
  struct Row {
    const char* file;
    std::string text;
    std::string message;
  };
  const std::vector<Row> rows = {
      {"vocab.txt", replaced(kVocabText, "\nd\n", "\ne\n"), "the token of id 8 is \"e\""},
      {"vocab.txt", std::string(kVocabText) + "e\n", "the token of id 9 is \"e\""},
      {"tokenizer_config.json", R"({"do_lower_case": false})",
       "\"normalizer.lowercase\" is true, but \"do_lower_case\" is false"},
      {"tokenizer_config.json", R"({"tokenize_chinese_chars": false})",
       "\"tokenize_chinese_chars\""},
      {"tokenizer_config.json", R"({"strip_accents": false})", "\"strip_accents\" is false"},
      {"tokenizer_config.json", R"({"sep_token": "d"})", "the sep_token is \"[SEP]\", but \"d\""},
      {"tokenizer_config.json", R"({"added_tokens_decoder": {}})",
       "the added token \"[CLS]\" is not among those of"},
      {"tokenizer_config.json", R"({"added_tokens_decoder": {"2": {"content": "[CLS]",
        "normalized": false}, "8": {"content": "d"}}})",
       "the added token \"d\" is not among those of"},
      {"tokenizer_config.json",
       R"({"added_tokens_decoder": {"2": {"content": "[CLS]", "lstrip": true}}})",
       "\"lstrip\" of the token \"[CLS]\" is true, but false in"},
      {"added_tokens.json", R"({"new": 9})", "the added token \"new\" is not among those of"},
      {"added_tokens.json", R"({"[CLS]": 7})", "\"id\" of the token \"[CLS]\" is 7, but 2 in"},
      {"added_tokens.json", R"({"[CLS]": "2"})", "\"[CLS]\" is \"2\""},
      {"special_tokens_map.json", R"({"pad_token": {"content": "[PAD]", "single_word": true}})",
       "\"pad_token.single_word\" is true"},
      {"special_tokens_map.json", R"({"cls_token": {"content": "[CLS]", "rstrip": true}})",
       "\"rstrip\" of the token \"[CLS]\" is true, but false in"},
      {"special_tokens_map.json", R"({"vocab_file": "x"})", "\"vocab_file\" is \"x\""},
  };
  for (const auto& [file, text, message] : rows) {
    const Folder folder;
    folder.write("tokenizer.json", kJson);
    folder.write(file, text);
    folder.check_refused(message, file);
  }
  const Folder alone;
  alone.write("tokenizer.json", replaced(kJson, R"("lowercase": true)", R"("lowercase": false)"));
  alone.check_refused("no tokenizer_config.json is beside it", "tokenizer.json");
  const Folder folder;
  folder.write("vocab.txt", kVocabText);
  folder.write("tokenizer_config.json", R"({"mask_token": "[MASK]"})");
  folder.write("special_tokens_map.json", R"({"mask_token": "d"})");
  folder.check_refused("a special token is \"[MASK]\", but \"d\" in", "special_tokens_map.json");
}

TEST_CASE("Added tokens are found whole, as their flags say", "[tokenizer_folder]") {
  const Folder folder;
  folder.write("vocab.txt", kVocabText);
  folder.write("added_tokens.json", R"({"10people": 9, "<q>": 10})");
  folder.write("tokenizer_config.json", R"({"extra_special_tokens": ["<q>"]})");
  // An added token is normalized as the text is, a special one is not.
  CHECK(folder.ids("abc10Peopled<q><Q>") == std::vector<int32_t>{5, 6, 9, 8, 10, 1, 1, 1});
  CHECK(folder.offsets("ab \u2003 10PEOPLE") == "0-2 5-13");
  CHECK(folder.load().vocab_size() == 11);
  CHECK(folder.load().token(9) == "10people");
  CHECK(folder.load().files().size() == 3);

  const Folder stripping;
  stripping.write("vocab.txt", kVocabText);
  stripping.write("tokenizer_config.json", R"({"added_tokens_decoder": {
    "4": {"content": "[MASK]", "lstrip": true, "normalized": false, "special": true}}})");
  CHECK(stripping.offsets("d \u3000[MASK] d") == "0-1 1-9 10-11");
}

TEST_CASE("A tokenizer.json that is used as it is keeps its own settings", "[tokenizer_folder]") {
  const Folder folder;
  folder.write("tokenizer_config.json", kAsIs);
  const std::string specials = R"("added_tokens": [
    {"id": 0, "content": "[PAD]", "special": true}, {"id": 1, "content": "[UNK]", "special": true},
    {"id": 3, "content": "[SEP]", "special": true},)";
  std::string text = replaced(kJson, R"("added_tokens": [)", specials);
  text = replaced(text, R"("lowercase": true)", R"("lowercase": false)");
  text = replaced(text, R"("max_input_chars_per_word": 100)", R"("max_input_chars_per_word": 3)");
  text =
      replaced(text, R"("continuing_subword_prefix": "##")", R"("continuing_subword_prefix": "@")");
  text = replaced(text, R"("##c": 6)", R"("@c": 6)");
  folder.write("tokenizer.json", text);
  CHECK(folder.ids("Abc abc abcc AB") == std::vector<int32_t>{7, 6, 5, 6, 1, 1});
  folder.write("tokenizer.json", replaced(text, specials, R"("added_tokens": [)"));
  folder.check_refused("is not among \"added_tokens\"", "tokenizer.json");
}

/// docs/bert_squad.md lists what has no effect, each with the reason; tests run in the repository's
/// root.
TEST_CASE("The docs list each setting that has no effect", "[tokenizer_folder]") {
  const std::string docs = lightning::read_file("docs/bert_squad.md");
  for (const auto& settings :
       {bert_squad::harmless_config_settings(), bert_squad::harmless_tokenizer_settings(),
        bert_squad::harmless_tokenizer_json_settings()}) {
    for (const auto& setting : settings) {
      CAPTURE(setting.name, setting.reason);
      const size_t reason = docs.find(lightning::detail::concat("| ", setting.reason, " |"));
      REQUIRE(reason != std::string::npos);
      const std::string row = docs.substr(reason, docs.find('\n', reason) - reason);
      CHECK_THAT(row, Contains(lightning::detail::concat("`", setting.name, "`")));
    }
  }
}

}  // namespace
