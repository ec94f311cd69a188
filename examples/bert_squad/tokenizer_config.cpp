// tokenizer_config.json, special_tokens_map.json and added_tokens.json.
#include <algorithm>
#include <array>
#include <string_view>

#include <lightning/util/error.h>

#include "tokenizer_settings.h"

namespace bert_squad {
namespace {

using lightning::detail::concat;

constexpr std::array<const char*, 7> kNamed = {"unk_token",  "sep_token", "pad_token", "cls_token",
                                               "mask_token", "bos_token", "eos_token"};
constexpr int64_t kMaxId = int64_t{1} << 28;

// Takes additional_special_tokens and the like: a list of tokens, or name and token.
void read_token_list(Settings& settings, const char* key, StatedTokens& tokens) {
  const Json* value = settings.find(key);
  if (value == nullptr) return;
  if (!value->is_array() && !value->is_object()) settings.fail(key, "a list of tokens");
  for (const auto& [name, token] : value->items()) {
    tokens.push_back(read_stated_token(token, settings.source(), concat(key, ".", name)));
  }
}

// The special tokens of `object`, which `settings` reads.
SpecialTokens read_special_tokens(const Json& object, Settings& settings) {
  SpecialTokens tokens;
  for (const char* key : kNamed) {
    if (!settings.has(key)) continue;
    const Json* value = settings.find(key);
    auto& token = tokens.named[key];
    if (value != nullptr) token = read_stated_token(*value, settings.source(), key);
  }
  read_token_list(settings, "additional_special_tokens", tokens.additional);
  read_token_list(settings, "extra_special_tokens", tokens.others);
  read_token_list(settings, "model_specific_special_tokens", tokens.others);
  for (const auto& [key, value] : object.items()) {
    const bool is_token = key.ends_with("_token") && (value.is_string() || value.is_object());
    if (!is_token || tokens.named.contains(key)) continue;
    tokens.others.push_back(read_stated_token(*settings.find(key), settings.source(), key));
  }
  return tokens;
}

StatedTokens read_added_tokens_decoder(Settings& settings) {
  StatedTokens tokens;
  const Json* value = settings.find("added_tokens_decoder");
  if (!value->is_object()) settings.fail("added_tokens_decoder", "an object of ids and tokens");
  for (const auto& [id, token] : value->items()) {
    const bool is_id = !id.empty() && id.size() <= 9 &&
                       id.find_first_not_of("0123456789") == std::string::npos && token.is_object();
    if (!is_id) {
      settings.fail("added_tokens_decoder", concat("an object of ids and tokens, which ", shown(id),
                                                   ": ", shown(token), " is not"));
    }
    tokens.push_back(
        read_added_token(token, settings.source(), concat("added_tokens_decoder.", id)));
    tokens.back().id = std::stoll(id);
  }
  return tokens;
}

// Which of transformers' classes reads the folder; true: one that takes tokenizer.json as it is.
bool read_class(Settings& config) {
  constexpr const char* kKey = "tokenizer_class";
  const std::string name = config.text(kKey).value_or("BertTokenizer");
  if (name == "PreTrainedTokenizerFast" || name == "TokenizersBackend") return true;
  if (name != "BertTokenizer" && name != "BertTokenizerFast") {
    config.fail(kKey,
                "BertTokenizer, BertTokenizerFast, PreTrainedTokenizerFast or TokenizersBackend: "
                "others cut words in another way",
                "use a BERT model whose tokenizer is BertTokenizer.");
  }
  return false;
}

// transformers gives the model only the inputs that are listed.
void check_model_inputs(Settings& config, bool as_is) {
  constexpr const char* kKey = "model_input_names";
  const Json* value = config.find(kKey);
  if (value == nullptr && !as_is) return;  // BertTokenizer has all three
  const auto lists = [&](const char* name) {
    return value != nullptr && value->is_array() &&
           std::find(value->begin(), value->end(), Json(name)) != value->end();
  };
  if (lists("input_ids") && lists("token_type_ids") && lists("attention_mask")) return;
  config.fail(kKey,
              R"(["input_ids", "token_type_ids", "attention_mask"]: BERT is asked with all three)",
              "write this value into the file if the model was trained with token types.");
}

}  // namespace

StatedToken read_added_token(const Json& value, const std::string& source,
                             const std::string& path) {
  StatedToken token = read_stated_token(value, source, path);
  if (!token.normalized) token.normalized = !token.special.value_or(false);
  return token;
}

StatedToken read_stated_token(const Json& value, const std::string& source,
                              const std::string& path) {
  if (value.is_string()) return {.content = value.get<std::string>()};
  LIGHTNING_CHECK(
      value.is_object(), DataError, source, ": \"", path, "\" is ", shown(value),
      ", expected a token: a string, or an object with \"content\". HINT: copy the file "
      "from the model's folder again.");
  Settings settings(value, source, path + ".");
  const auto content = settings.text("content");
  if (!content) settings.fail("content", "the token's text");
  settings.require("__type", "AddedToken", "no other kind of token is known");
  settings.require("single_word", false,
                   "tokens that are found only as whole words aren't supported");
  StatedToken token = {.content = *content,
                       .id = settings.integer("id", 0, kMaxId),
                       .lstrip = settings.boolean("lstrip"),
                       .rstrip = settings.boolean("rstrip"),
                       .normalized = settings.boolean("normalized"),
                       .special = settings.boolean("special")};
  settings.refuse_rest();
  return token;
}

TokenizerConfig parse_tokenizer_config(const std::string& text, const std::string& source) {
  const Json json = parse_settings(text, source);
  Settings config(json, source);
  TokenizerConfig result;
  result.as_is = read_class(config);
  result.do_lower_case = config.boolean("do_lower_case");
  result.has_strip_accents = config.has("strip_accents");
  result.strip_accents = config.boolean("strip_accents");
  result.tokenize_chinese_chars = config.boolean("tokenize_chinese_chars");
  config.require("do_basic_tokenize", true, "words are always cut at spaces and punctuation");
  config.refuse("never_split", "only added tokens are kept whole");
  for (const char* key :
       {"word_tokenizer_type", "subword_tokenizer_type", "mecab_kwargs", "sudachi_kwargs",
        "jumanpp_kwargs", "do_word_tokenize", "do_subword_tokenize"}) {
    config.refuse(key, "it belongs to tokenizers of another kind");
  }
  config.require("clean_text", true, "control characters are always removed");
  config.require("wordpieces_prefix", "##", "only tokenizer.json can name another prefix");
  config.require("split_special_tokens", false, "special tokens are always kept whole");
  for (const char* key : {"add_prefix_space", "add_bos_token", "add_eos_token"}) {
    config.require(key, false, "inputs are [CLS] question [SEP] passage [SEP]");
  }
  config.require("padding_side", "right", "batches are padded on the right");
  config.require("truncation_side", "right", "windows begin at the passage's first token");
  config.require("pad_token_type_id", 0, "padding has the token type 0");
  config.refuse("auto_map", "a tokenizer of its own code isn't supported");
  config.refuse("init_inputs", "arguments for the tokenizer's class aren't supported");
  config.refuse("fast_tokenizer_files", "only tokenizer.json is read, not those of one version");
  check_model_inputs(config, result.as_is);
  if (config.find("added_tokens_decoder") != nullptr) {
    result.added_tokens_decoder = read_added_tokens_decoder(config);
  }
  result.specials = read_special_tokens(json, config);
  config.without_effect(harmless_tokenizer_settings());
  config.refuse_rest();
  return result;
}

SpecialTokens parse_special_tokens_map(const std::string& text, const std::string& source) {
  const Json json = parse_settings(text, source);
  Settings settings(json, source);
  SpecialTokens tokens = read_special_tokens(json, settings);
  settings.refuse_rest();
  return tokens;
}

StatedTokens parse_added_tokens(const std::string& text, const std::string& source) {
  const Json json = parse_settings(text, source);
  Settings settings(json, source);
  StatedTokens tokens;
  for (const auto& entry : json.items()) {
    const auto id = settings.integer(entry.key(), 0, kMaxId);
    if (!id) settings.fail(entry.key(), "the token's id");
    tokens.push_back({.content = entry.key(), .id = id});
  }
  return tokens;
}

}  // namespace bert_squad
