// What the files of a Hugging Face tokenizer say, each read by itself; wordpiece_files.cpp puts
// them together. Errors are lightning::DataError that name file, setting and value.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "json_settings.h"

namespace bert_squad {

/// An added or special token as a file states it: what it leaves open has no value.
struct StatedToken {
  std::string content;
  std::optional<int64_t> id = std::nullopt;
  std::optional<bool> lstrip = std::nullopt;
  std::optional<bool> rstrip = std::nullopt;
  std::optional<bool> normalized = std::nullopt;
  std::optional<bool> special = std::nullopt;
};

using StatedTokens = std::vector<StatedToken>;

/// A string or {"content": ..., "lstrip": ...}. `path` stands before the keys in errors.
StatedToken read_stated_token(const Json& value, const std::string& source,
                              const std::string& path);

/// The same for a token that is added: what isn't said about normalization follows from `special`.
StatedToken read_added_token(const Json& value, const std::string& source, const std::string& path);

/// special_tokens_map.json, and the same keys of tokenizer_config.json.
struct SpecialTokens {
  /// By key (cls_token ...); no value: null, "there is none".
  std::map<std::string, std::optional<StatedToken>> named;
  /// extra_special_tokens and keys that end in _token.
  StatedTokens others;
  /// additional_special_tokens.
  StatedTokens additional;
};

/// tokenizer_config.json.
struct TokenizerConfig {
  /// Whether tokenizer.json is used as it is (PreTrainedTokenizerFast, TokenizersBackend) instead
  /// of being a BertTokenizer's.
  bool as_is = false;
  std::optional<bool> do_lower_case;
  std::optional<bool> strip_accents;
  bool has_strip_accents = false;
  std::optional<bool> tokenize_chinese_chars;
  SpecialTokens specials;
  std::optional<StatedTokens> added_tokens_decoder;
};

/// tokenizer.json.
struct TokenizerJson {
  std::vector<std::string> vocab;
  std::string unk_token;
  std::string continuing_subword_prefix;
  int64_t max_input_chars_per_word = 100;
  bool lowercase = true;
  std::optional<bool> strip_accents;
  bool handle_chinese_chars = true;
  StatedTokens added_tokens;
  StatedToken cls;  // as the post-processor adds them
  StatedToken sep;
  std::optional<StatedToken> pad;  // of the padding
};

TokenizerConfig parse_tokenizer_config(const std::string& text, const std::string& source);
SpecialTokens parse_special_tokens_map(const std::string& text, const std::string& source);
/// added_tokens.json: content and id.
StatedTokens parse_added_tokens(const std::string& text, const std::string& source);
TokenizerJson parse_tokenizer_json(const std::string& text, const std::string& source);

}  // namespace bert_squad
