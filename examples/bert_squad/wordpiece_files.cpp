// A tokenizer from the files of a model folder, and back.
#include <algorithm>
#include <array>
#include <fstream>
#include <map>
#include <set>
#include <string_view>

#include <lightning/util/error.h>

#include "tokenizer_settings.h"
#include "utf8.h"
#include "wordpiece.h"

namespace bert_squad {
namespace {

namespace fs = std::filesystem;
using lightning::detail::concat;

constexpr const char* kVocabFile = "vocab.txt";
constexpr const char* kJsonFile = "tokenizer.json";
constexpr const char* kConfigFile = "tokenizer_config.json";
constexpr const char* kSpecialFile = "special_tokens_map.json";
constexpr const char* kAddedFile = "added_tokens.json";

void write_file(const fs::path& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary);
  out << text << std::flush;
  LIGHTNING_CHECK(out.good(), DataError, path.string(), ": writing ", text.size(),
                  " bytes failed, expected a writable folder. HINT: "
                  "check that it exists and that there is room.");
}

// Without the white space of Unicode at its end, as the tokenizers library reads a line.
std::string_view without_trailing_space(std::string_view line) {
  const auto is_space = [](char32_t c) {
    return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
           c == 0x205F || c == 0x3000;
  };
  while (!line.empty()) {
    size_t begin = line.size() - 1;
    while (begin > 0 && (static_cast<uint8_t>(line[begin]) & 0xC0) == 0x80) --begin;
    const CodePoint last = decode_code_point(line.substr(begin));
    if (last.size != line.size() - begin || !is_space(last.value)) break;
    line = line.substr(0, begin);
  }
  return line;
}

// One token per line. A last line without line feed counts, as does an empty line before it.
std::vector<std::string> split_lines(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line = std::string_view(text).substr(begin, end - begin);
    if (line.ends_with('\r')) line.remove_suffix(1);
    // Tokens of white space alone are no part of any word; as they stand they differ.
    const std::string_view trimmed = without_trailing_space(line);
    if (!trimmed.empty() && trimmed != "##") line = trimmed;
    lines.emplace_back(line);
    begin = end + 1;
  }
  return lines;
}

std::string in_quotes(const std::string& text) { return shown(Json(text)); }

// The files of a folder, put together: each setting from the file that transformers takes it from,
// and an error where another file says something else.
class FolderReader {
 public:
  explicit FolderReader(const fs::path& folder) : folder_(folder) {
    for (const char* name : {kVocabFile, kJsonFile, kConfigFile, kSpecialFile, kAddedFile}) {
      std::error_code error;
      if (fs::symlink_status(folder / name, error).type() == fs::file_type::not_found) continue;
      files_.emplace_back(name, read_model_file(folder / name));
    }
    LIGHTNING_CHECK(
        has(kVocabFile) || has(kJsonFile), DataError, path(kVocabFile),
        ": there is no such file and no tokenizer.json beside it, expected one of them. "
        "HINT: give the folder of a BERT model that holds config.json and its "
        "tokenizer; tokenizer.save_pretrained(folder) writes it.");
    if (has(kConfigFile)) config_ = parse_tokenizer_config(text(kConfigFile), path(kConfigFile));
    if (has(kJsonFile)) json_ = parse_tokenizer_json(text(kJsonFile), path(kJsonFile));
    LIGHTNING_CHECK(
        !config_.as_is || json_, DataError, path(kConfigFile),
        ": \"tokenizer_class\" is a class that uses tokenizer.json as it is, and there is "
        "no such file, expected one. HINT: copy the model's folder again.");
    read_vocab();
    read_normalization();
    read_named_tokens();
    read_added_tokens();
    check_ids();
  }

  const std::string& vocab_source() const { return vocab_source_; }
  std::vector<std::string>& vocab() { return vocab_; }
  WordPieceOptions& options() { return options_; }
  WordPieceTokenizer::Files& files() { return files_; }

 private:
  // Where a token is stated, for errors.
  struct Statement {
    StatedToken token;
    std::string source;
  };

  std::string path(const char* name) const { return (folder_ / name).string(); }
  bool has(const char* name) const {
    return std::any_of(files_.begin(), files_.end(), [&](auto& f) { return f.first == name; });
  }
  const std::string& text(const char* name) const {
    return std::find_if(files_.begin(), files_.end(), [&](auto& f) { return f.first == name; })
        ->second;
  }

  template <typename... Parts>
  [[noreturn]] static void contradiction(const Parts&... parts) {
    throw lightning::DataError(
        concat(parts..., " HINT: save the tokenizer again, or correct the file that is wrong."));
  }

  void read_vocab() {
    vocab_source_ = path(json_ ? kJsonFile : kVocabFile);
    if (has(kVocabFile)) {
      LIGHTNING_CHECK(!text(kVocabFile).starts_with("\xEF\xBB\xBF"), DataError, path(kVocabFile),
                      ": line 1 begins with a byte order mark (BOM), which would be part of the "
                      "first token, expected UTF-8 without one. HINT: save the file without it.");
      vocab_ = split_lines(text(kVocabFile));
    }
    if (!json_) return;
    if (has(kVocabFile) && vocab_ != json_->vocab) {
      size_t i = 0;
      const size_t shorter = std::min(vocab_.size(), json_->vocab.size());
      while (i < shorter && vocab_[i] == json_->vocab[i]) ++i;
      const auto name = [&](const std::vector<std::string>& vocab) {
        return i < vocab.size() ? in_quotes(vocab[i]) : std::string("no token");
      };
      contradiction(path(kVocabFile), ": the token of id ", i, " is ", name(vocab_), ", but in ",
                    kJsonFile, "'s \"model.vocab\" it is ", name(json_->vocab),
                    ", expected the same vocabulary in both files.");
    }
    vocab_ = json_->vocab;
  }

  // Where a setting of tokenizer_config.json stands, for errors.
  std::string in_config_file() const {
    return has(kConfigFile) ? concat("in ", kConfigFile)
                            : std::string("to transformers without a tokenizer_config.json");
  }

  // A BertTokenizer of transformers makes its normalizer of tokenizer_config.json, whatever
  // tokenizer.json says: where they differ the tokens would depend on who reads the folder.
  void check_normalizer(const char* json_key, bool in_json, const char* config_key,
                        std::optional<bool> in_config, bool fallback) const {
    if (in_json == in_config.value_or(config_.as_is ? in_json : fallback)) return;
    contradiction(path(kJsonFile), ": \"", json_key, "\" is ", in_json, ", but ",
                  in_config ? concat("\"", config_key, "\" is ", *in_config, " in ", kConfigFile)
                  : has(kConfigFile)
                      ? concat("there is no \"", config_key, "\" (which means ", fallback,
                               " to transformers) in ", kConfigFile)
                      : concat("no tokenizer_config.json is beside it, where \"", config_key,
                               "\" would be (which means ", fallback, " to transformers)"),
                  ", expected the same.");
  }

  void read_normalization() {
    options_.lowercase = config_.do_lower_case.value_or(true);
    options_.strip_accents = config_.strip_accents;
    options_.tokenize_chinese_chars = config_.tokenize_chinese_chars.value_or(true);
    if (!json_) return;
    check_normalizer("normalizer.lowercase", json_->lowercase, "do_lower_case",
                     config_.do_lower_case, true);
    check_normalizer("normalizer.handle_chinese_chars", json_->handle_chinese_chars,
                     "tokenize_chinese_chars", config_.tokenize_chinese_chars, true);
    if (!config_.as_is || config_.has_strip_accents) {
      check_normalizer("normalizer.strip_accents", json_->strip_accents.value_or(json_->lowercase),
                       "strip_accents", config_.strip_accents.value_or(json_->lowercase), true);
    }
    options_.lowercase = json_->lowercase;
    options_.strip_accents = json_->strip_accents;
    options_.tokenize_chinese_chars = json_->handle_chinese_chars;
    options_.continuing_subword_prefix = json_->continuing_subword_prefix;
    options_.max_input_chars_per_word = json_->max_input_chars_per_word;
    const auto check_fixed = [&](const char* key, const std::string& value, const char* fixed) {
      LIGHTNING_CHECK(
          config_.as_is || value == fixed, DataError, path(kJsonFile), ": \"model.", key, "\" is ",
          value, ", expected ", fixed,
          ", which a BertTokenizer of transformers takes whatever is written there. HINT: set "
          "\"tokenizer_class\" to \"PreTrainedTokenizerFast\" in tokenizer_config.json, and "
          "\"model_input_names\", if the model was trained with that value.");
    };
    check_fixed("continuing_subword_prefix", in_quotes(json_->continuing_subword_prefix), "\"##\"");
    check_fixed("max_input_chars_per_word", std::to_string(json_->max_input_chars_per_word), "100");
  }

  // What a key such as cls_token says; nothing when no file has it.
  std::optional<Statement> find_named(const std::string& key, bool& is_null) const {
    std::optional<Statement> found;
    is_null = false;
    const auto look = [&](const SpecialTokens& tokens, const char* file) {
      const auto entry = tokens.named.find(key);
      if (entry == tokens.named.end()) return;
      if (!entry->second) {
        is_null = true;
      } else if (!found) {
        found = Statement{*entry->second, path(file)};
      } else {
        require_same(*found, {*entry->second, path(file)});
      }
    };
    look(config_.specials, kConfigFile);
    look(special_map_, kSpecialFile);
    if (found && is_null) {
      contradiction(path(kSpecialFile), ": \"", key, "\" is set in one of this file and ",
                    kConfigFile, " and null in the other, expected the same.");
    }
    return found;
  }

  void read_named_tokens() {
    if (has(kSpecialFile)) {
      special_map_ = parse_special_tokens_map(text(kSpecialFile), path(kSpecialFile));
    }
    const auto named = [&](const char* key, std::string& token, const StatedToken* in_json) {
      bool is_null = false;
      const auto stated = find_named(key, is_null);
      LIGHTNING_CHECK(!is_null || std::string_view(key) == "mask_token", DataError,
                      path(kConfigFile), ": \"", key,
                      "\" is null, expected a token, which BERT's inputs need. HINT: name the "
                      "model's own.");
      if (stated) {
        token = stated->token.content;
        specials_.push_back(*stated);
      } else if (is_null) {
        token.clear();
      } else if (config_.as_is) {
        if (in_json != nullptr) token = in_json->content;
        unnamed_.insert(token);
      }
      if (in_json != nullptr && in_json->content != token) {
        contradiction(path(kJsonFile), ": the ", key, " is ", in_quotes(in_json->content), ", but ",
                      in_quotes(token), " ", in_config_file(),
                      has(kConfigFile) ? " (where none is named, transformers' own)" : "",
                      ", expected the same.");
      }
    };
    StatedToken unk;
    if (json_) unk.content = json_->unk_token;
    named("unk_token", options_.unk_token, json_ ? &unk : nullptr);
    named("sep_token", options_.sep_token, json_ ? &json_->sep : nullptr);
    named("cls_token", options_.cls_token, json_ ? &json_->cls : nullptr);
    named("pad_token", options_.pad_token, json_ && json_->pad ? &*json_->pad : nullptr);
    bool has_mask = false;
    for (const auto* tokens : {&config_.specials, &special_map_}) {
      const auto mask = tokens->named.find("mask_token");
      has_mask = has_mask || (mask != tokens->named.end() && mask->second);
    }
    named("mask_token", options_.mask_token, nullptr);
    // A vocabulary may lack it when no setting names it.
    if (!has_mask && unnamed_.erase(options_.mask_token) > 0) {
      const auto is_mask = [&](const StatedToken& t) { return t.content == options_.mask_token; };
      const StatedTokens& added = json_->added_tokens;
      if (std::none_of(added.begin(), added.end(), is_mask)) options_.mask_token.clear();
    }
    for (const char* key : {"bos_token", "eos_token"}) {
      bool is_null = false;
      if (const auto stated = find_named(key, is_null)) specials_.push_back(*stated);
    }
    const auto add = [&](const StatedTokens& tokens, const char* file) {
      for (const StatedToken& token : tokens) specials_.push_back({token, path(file)});
    };
    add(config_.specials.others, kConfigFile);
    add(config_.specials.additional, kConfigFile);
    add(special_map_.others, kSpecialFile);
  }

  static void require_same(const Statement& a, const Statement& b) {
    if (a.token.content != b.token.content) {
      contradiction(a.source, ": a special token is ", in_quotes(a.token.content), ", but ",
                    in_quotes(b.token.content), " in ", b.source, ", expected the same.");
    }
    const auto compare = [&](const char* what, const auto& mine, const auto& other) {
      if (!mine || !other || *mine == *other) return;
      contradiction(a.source, ": \"", what, "\" of the token ", in_quotes(a.token.content), " is ",
                    *mine, ", but ", *other, " in ", b.source, ", expected the same.");
    };
    compare("id", a.token.id, b.token.id);
    compare("lstrip", a.token.lstrip, b.token.lstrip);
    compare("rstrip", a.token.rstrip, b.token.rstrip);
    compare("normalized", a.token.normalized, b.token.normalized);
  }

  using ByContent = std::map<std::string, Statement>;

  static ByContent by_content(const StatedTokens& tokens, const std::string& source) {
    ByContent result;
    for (const StatedToken& token : tokens) {
      const bool is_new = result.emplace(token.content, Statement{token, source}).second;
      LIGHTNING_CHECK(is_new, DataError, source, ": the added token ", in_quotes(token.content),
                      " is there twice, expected it once. HINT: copy the file from the model's "
                      "folder again.");
    }
    return result;
  }

  // Tokens that one file adds must be those that the other adds.
  static void require_all_in(const ByContent& tokens, const ByContent& others,
                             const std::string& other_source) {
    for (const auto& [content, stated] : tokens) {
      const auto other = others.find(content);
      if (other == others.end()) {
        contradiction(stated.source, ": the added token ", in_quotes(content),
                      " is not among those of ", other_source, ", expected the same tokens.");
      }
      require_same(stated, other->second);
    }
  }

  void read_added_tokens() {
    const bool has_decoder = config_.added_tokens_decoder.has_value();
    const ByContent in_config =
        by_content(config_.added_tokens_decoder.value_or(StatedTokens{}), path(kConfigFile));
    const ByContent in_json =
        by_content(json_ ? json_->added_tokens : StatedTokens{}, path(kJsonFile));
    if (has_decoder && json_) {
      require_all_in(in_config, in_json, path(kJsonFile));
      require_all_in(in_json, in_config, path(kConfigFile));
    }
    added_ = has_decoder ? in_config : in_json;
    if (has(kAddedFile)) {
      const ByContent legacy =
          by_content(parse_added_tokens(text(kAddedFile), path(kAddedFile)), path(kAddedFile));
      if (has_decoder || json_) {
        require_all_in(legacy, added_, path(json_ ? kJsonFile : kConfigFile));
      } else {
        added_ = legacy;
      }
    }
    for (const std::string& token : unnamed_) {
      LIGHTNING_CHECK(added_.contains(token), DataError, path(kJsonFile), ": ", in_quotes(token),
                      " is not among \"added_tokens\", expected BERT's special tokens there. HINT: "
                      "name it in tokenizer_config.json.");
    }
    // Special tokens are added, too, unless they are already.
    for (const Statement& special : specials_) {
      const auto [entry, is_new] = added_.emplace(special.token.content, special);
      if (!is_new) require_same(special, entry->second);
      entry->second.token.special = true;
    }
    // transformers 5 knows these too late to tell that a token of added_tokens.json is one of them.
    for (const StatedToken& token : special_map_.additional) {
      const Statement special = {token, path(kSpecialFile)};
      const auto [entry, is_new] = added_.emplace(token.content, special);
      if (is_new) entry->second.token.special = true;
      if (!is_new) require_same(special, entry->second);
    }
  }

  // Whether it is what the options stand for without being told.
  bool is_plain_special(const AddedToken& token) const {
    return token == AddedToken{.content = token.content} &&
           (token.content == options_.unk_token || token.content == options_.sep_token ||
            token.content == options_.pad_token || token.content == options_.cls_token ||
            token.content == options_.mask_token);
  }

  // A token that the vocabulary lacks gets the id after the last, in the order of the stated ids.
  void check_ids() {
    std::map<std::string_view, int64_t> ids;
    for (size_t i = 0; i < vocab_.size(); ++i) ids.emplace(vocab_[i], static_cast<int64_t>(i));
    std::map<int64_t, const Statement*> added;
    for (const auto& [content, stated] : added_) {
      const auto known = ids.find(content);
      const auto id = stated.token.id;
      if (known == ids.end()) {
        LIGHTNING_CHECK(
            id, DataError, stated.source, ": the special token ", in_quotes(content),
            " is neither in the vocabulary nor an added token with an id, expected one. "
            "HINT: save the tokenizer again with transformers.");
      } else if (id && *id != known->second) {
        contradiction(stated.source, ": the id of the added token ", in_quotes(content), " is ",
                      *id, ", but ", known->second, " in the vocabulary, expected the same.");
      }
      const auto [other, is_new] = added.emplace(known == ids.end() ? *id : known->second, &stated);
      if (!is_new) {
        contradiction(stated.source, ": the added tokens ", in_quotes(content), " and ",
                      in_quotes(other->second->token.content), " have the same id ", other->first,
                      ", expected an id for each.");
      }
    }
    auto next = static_cast<int64_t>(vocab_.size());
    for (const auto& [id, stated] : added) {
      const StatedToken& token = stated->token;
      if (!ids.contains(token.content)) {
        LIGHTNING_CHECK(id == next, DataError, stated->source, ": the id of the added token ",
                        in_quotes(token.content), " is ", id, ", expected ", next,
                        ", the next one after the vocabulary, which transformers gives it. HINT: "
                        "save the tokenizer again with transformers.");
        ++next;
      }
      AddedToken result = {.content = token.content,
                           .lstrip = token.lstrip.value_or(false),
                           .rstrip = token.rstrip.value_or(false),
                           .normalized = token.normalized.value_or(!token.special.value_or(false))};
      if (!is_plain_special(result)) options_.added_tokens.push_back(std::move(result));
    }
    for (const StatedToken* token : {json_ ? &json_->cls : nullptr, json_ ? &json_->sep : nullptr,
                                     json_ && json_->pad ? &*json_->pad : nullptr}) {
      if (token == nullptr || !token->id) continue;
      const auto known = ids.find(token->content);
      const auto as_added = added.find(*token->id);
      const bool fits = known != ids.end() ? known->second == *token->id
                                           : as_added != added.end() &&
                                                 as_added->second->token.content == token->content;
      if (!fits) {
        contradiction(path(kJsonFile), ": the id of ", in_quotes(token->content), " is ",
                      *token->id,
                      " in \"post_processor\" or \"padding\", expected its id in the vocabulary.");
      }
    }
  }

  fs::path folder_;
  WordPieceTokenizer::Files files_;
  TokenizerConfig config_;
  std::optional<TokenizerJson> json_;
  SpecialTokens special_map_;
  std::vector<std::string> vocab_;
  std::string vocab_source_;
  std::vector<Statement> specials_;  // named by a file
  std::set<std::string> unnamed_;    // special, but named by tokenizer.json alone
  ByContent added_;
  WordPieceOptions options_;
};

}  // namespace

WordPieceTokenizer WordPieceTokenizer::from_folder(const fs::path& folder) {
  FolderReader reader(folder);
  WordPieceTokenizer tokenizer(std::move(reader.vocab()), std::move(reader.options()),
                               reader.vocab_source());
  tokenizer.files_ = std::make_shared<const Files>(std::move(reader.files()));
  return tokenizer;
}

WordPieceTokenizer::Files WordPieceTokenizer::files() const {
  if (files_ != nullptr) return *files_;
  const WordPieceOptions& chosen = options();
  LIGHTNING_CHECK(
      chosen.continuing_subword_prefix == "##" && chosen.max_input_chars_per_word == 100, DataError,
      "WordPieceTokenizer: continuing_subword_prefix is ",
      in_quotes(chosen.continuing_subword_prefix), " and max_input_chars_per_word is ",
      chosen.max_input_chars_per_word,
      ", expected \"##\" and 100, which a vocab.txt stands for. HINT: make it from a folder.");
  std::string vocab;
  for (size_t id = 0; id < own_vocab_size(); ++id) vocab += token(static_cast<int32_t>(id)) + '\n';
  Json config = {{"tokenizer_class", "BertTokenizer"},
                 {"do_lower_case", chosen.lowercase},
                 {"strip_accents", nullptr},
                 {"tokenize_chinese_chars", chosen.tokenize_chinese_chars},
                 {"unk_token", chosen.unk_token},
                 {"sep_token", chosen.sep_token},
                 {"pad_token", chosen.pad_token},
                 {"cls_token", chosen.cls_token},
                 {"mask_token", nullptr}};
  if (mask_id() >= 0) config["mask_token"] = chosen.mask_token;
  if (chosen.strip_accents) config["strip_accents"] = *chosen.strip_accents;
  for (const AddedToken& added : chosen.added_tokens) {
    config["added_tokens_decoder"][std::to_string(id_of(added.content))] = {
        {"content", added.content},       {"lstrip", added.lstrip}, {"rstrip", added.rstrip},
        {"normalized", added.normalized}, {"single_word", false},   {"special", false}};
  }
  return {{kVocabFile, std::move(vocab)},
          {kConfigFile, config.dump(2, ' ', false, Json::error_handler_t::replace) + '\n'}};
}

void WordPieceTokenizer::save(const fs::path& folder) const {
  for (const auto& [name, text] : files()) write_file(folder / name, text);
}

}  // namespace bert_squad
