// tokenizer.json, the file of the `tokenizers` package.
#include <utility>

#include <lightning/util/error.h>

#include "tokenizer_settings.h"

namespace bert_squad {
namespace {

using lightning::detail::concat;

constexpr const char* kOtherKind =
    "use a BERT model whose tokenizer is BertTokenizer, or its vocab.txt alone.";

// A part of the pipeline (normalizer ...) of type `type`, or a Sequence of just one such.
Settings read_part(Settings& file, const char* key, const char* list, const char* type) {
  auto part = file.object(key);
  if (!part) file.fail(key, concat("one of type ", type), kOtherKind);
  if (part->text("type") == "Sequence") {
    const Json* parts = part->find(list);
    part->refuse_rest();
    if (parts == nullptr || !parts->is_array() || parts->size() != 1 || !(*parts)[0].is_object()) {
      file.fail(key, concat("one of type ", type), kOtherKind);
    }
    part = Settings((*parts)[0], file.source(), concat(key, ".", list, ".0."));
  }
  return *std::move(part);
}

void require_type(Settings& part, std::string_view type) {
  if (part.text("type") != type) {
    part.fail("type", concat(shown(Json(type)), ", as BERT has it"), kOtherKind);
  }
}

void read_normalizer(Settings& file, TokenizerJson& result) {
  Settings part = read_part(file, "normalizer", "normalizers", "BertNormalizer");
  require_type(part, "BertNormalizer");
  const auto flag = [&](const char* key) {
    const auto value = part.boolean(key);
    if (!value) part.fail(key, "true or false");
    return *value;
  };
  result.lowercase = flag("lowercase");
  result.handle_chinese_chars = flag("handle_chinese_chars");
  result.strip_accents = part.boolean("strip_accents");
  part.require("clean_text", true, "control characters are always removed");
  part.refuse_rest();
}

void read_model(Settings& file, TokenizerJson& result) {
  auto model = file.object("model");
  if (!model) file.fail("model", "one of type WordPiece", kOtherKind);
  // Files of old versions have no type.
  if (model->find("type") != nullptr) require_type(*model, "WordPiece");
  const auto text = [&](const char* key) {
    auto value = model->text(key);
    if (!value) model->fail(key, "a string");
    return *std::move(value);
  };
  result.unk_token = text("unk_token");
  result.continuing_subword_prefix = text("continuing_subword_prefix");
  const auto longest = model->integer("max_input_chars_per_word", 1, 10000);
  if (!longest) model->fail("max_input_chars_per_word", "a number of characters");
  result.max_input_chars_per_word = *longest;
  auto vocab = model->object("vocab");
  if (!vocab) model->fail("vocab", "an object of tokens and ids");
  const Json& entries = *model->find("vocab");
  std::vector<const std::string*> tokens(entries.size(), nullptr);
  for (const auto& [token, id] : entries.items()) {
    const auto size = static_cast<int64_t>(tokens.size());
    const bool fits = id.is_number_integer() && id >= 0 && id < size;
    LIGHTNING_CHECK(fits, DataError, file.source(), ": the id of token ", shown(token),
                    " in \"model.vocab\" is ", shown(id), ", expected the ids 0 to ", size - 1,
                    ", one for each of ", size,
                    " tokens. HINT: copy the file from the model's "
                    "folder again.");
    const std::string*& place = tokens[id.get<size_t>()];
    LIGHTNING_CHECK(
        place == nullptr, DataError, file.source(), ": the tokens ", shown(*place), " and ",
        shown(token), " in \"model.vocab\" have the same id ", shown(id),
        ", expected an id for each. HINT: copy the file from the model's folder again.");
    place = &token;
  }
  for (const std::string* token : tokens) result.vocab.push_back(*token);
  model->refuse_rest();
}

// ["[SEP]", 102]
StatedToken read_pair(Settings& part, const char* key) {
  const Json* value = part.find(key);
  const bool fits = value != nullptr && value->is_array() && value->size() == 2 &&
                    (*value)[0].is_string() && (*value)[1].is_number_integer();
  if (!fits) part.fail(key, R"(a token and its id, such as ["[SEP]", 102])");
  return {.content = (*value)[0].get<std::string>(), .id = (*value)[1].get<int64_t>()};
}

// The template's piece for a special token, [CLS] of `type_id`.
Json special_piece(const std::string& token, int type_id) {
  return {{"SpecialToken", {{"id", token}, {"type_id", type_id}}}};
}

Json sequence_piece(const char* name, int type_id) {
  return {{"Sequence", {{"id", name}, {"type_id", type_id}}}};
}

// The id of a template's piece for a special token; empty for other pieces.
std::string token_of(const Json* pieces, size_t index) {
  if (pieces == nullptr || !pieces->is_array() || index >= pieces->size()) return "";
  const Json& piece = (*pieces)[index];
  if (!piece.is_object() || !piece.contains("SpecialToken")) return "";
  const Json& token = piece["SpecialToken"];
  if (!token.is_object() || !token.contains("id") || !token["id"].is_string()) return "";
  return token["id"].get<std::string>();
}

StatedToken read_template_token(Settings& part, const Json& special_tokens,
                                const std::string& token) {
  const auto entry = special_tokens.find(token);
  const bool fits = entry != special_tokens.end() && entry->is_object() && entry->contains("ids") &&
                    entry->contains("tokens") && (*entry)["ids"].is_array() &&
                    (*entry)["ids"].size() == 1 && (*entry)["ids"][0].is_number_integer() &&
                    (*entry)["tokens"] == Json::array({token});
  if (!fits) {
    part.fail("special_tokens", concat("one token and one id for ", shown(token)), kOtherKind);
  }
  return {.content = token, .id = (*entry)["ids"][0].get<int64_t>()};
}

void read_template(Settings& part, TokenizerJson& result) {
  const Json* pair = part.find("pair");
  const Json* special_tokens = part.find("special_tokens");
  const std::string cls = token_of(pair, 0);
  const std::string sep = token_of(pair, 2);
  const Json bert_single =
      Json::array({special_piece(cls, 0), sequence_piece("A", 0), special_piece(sep, 0)});
  Json bert_pair = bert_single;
  bert_pair.push_back(sequence_piece("B", 1));
  bert_pair.push_back(special_piece(sep, 1));
  if (pair == nullptr || *pair != bert_pair) {
    part.fail("pair", "BERT's [CLS]:0 A:0 [SEP]:0 B:1 [SEP]:1", kOtherKind);
  }
  const Json* single = part.find("single");
  if (single == nullptr || *single != bert_single) {
    part.fail("single", "BERT's [CLS]:0 A:0 [SEP]:0", kOtherKind);
  }
  if (special_tokens == nullptr || !special_tokens->is_object()) {
    part.fail("special_tokens", "an object of tokens and ids", kOtherKind);
  }
  result.cls = read_template_token(part, *special_tokens, cls);
  result.sep = read_template_token(part, *special_tokens, sep);
}

void read_post_processor(Settings& file, TokenizerJson& result) {
  Settings part = read_part(file, "post_processor", "processors", "TemplateProcessing");
  if (part.text("type") == "BertProcessing") {
    result.cls = read_pair(part, "cls");
    result.sep = read_pair(part, "sep");
  } else {
    require_type(part, "TemplateProcessing");
    read_template(part, result);
  }
  part.refuse_rest();
}

void read_lengths(Settings& file, TokenizerJson& result) {
  if (auto truncation = file.object("truncation")) {
    truncation->without_effect(harmless_tokenizer_json_settings());
    truncation->require("direction", "Right", "windows begin at the passage's first token");
    truncation->refuse_rest();
  }
  if (auto padding = file.object("padding")) {
    padding->without_effect(harmless_tokenizer_json_settings());
    padding->require("direction", "Right", "batches are padded on the right");
    padding->require("pad_type_id", 0, "padding has the token type 0");
    const auto token = padding->text("pad_token");
    const auto id = padding->integer("pad_id", 0, INT32_MAX);
    if (token) result.pad = StatedToken{.content = *token, .id = id};
    if (id && !token) padding->fail("pad_token", "the token whose id pad_id is");
    padding->refuse_rest();
  }
}

}  // namespace

TokenizerJson parse_tokenizer_json(const std::string& text, const std::string& source) {
  const Json json = parse_settings(text, source);
  Settings file(json, source);
  TokenizerJson result;
  file.require("version", "1.0", "no other version is known");
  read_model(file, result);
  read_normalizer(file, result);
  Settings words = read_part(file, "pre_tokenizer", "pretokenizers", "BertPreTokenizer");
  require_type(words, "BertPreTokenizer");
  words.refuse_rest();
  read_post_processor(file, result);
  read_lengths(file, result);
  if (const Json* tokens = file.find("added_tokens")) {
    if (!tokens->is_array()) file.fail("added_tokens", "a list of tokens");
    for (const auto& [index, token] : tokens->items()) {
      result.added_tokens.push_back(
          read_added_token(token, source, concat("added_tokens.", index)));
      if (!result.added_tokens.back().id) {
        file.fail("added_tokens", "tokens that have an \"id\"");
      }
    }
  }
  file.without_effect(harmless_tokenizer_json_settings());
  file.refuse_rest();
  return result;
}

}  // namespace bert_squad
