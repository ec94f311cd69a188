// Reading and writing vocab.txt and tokenizer_config.json.
#include <fstream>
#include <iterator>
#include <set>

#include <lightning/util/error.h>
#include <nlohmann/json.hpp>

#include "wordpiece.h"

namespace bert_squad {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using lightning::DataError;

constexpr const char* kVocabFile = "vocab.txt";
constexpr const char* kConfigFile = "tokenizer_config.json";

std::string read_file(const fs::path& path, const char* hint) {
  std::error_code error;
  LIGHTNING_CHECK(fs::is_regular_file(path, error), DataError, path.string(),
                  ": there is no such file, expected one. HINT: ", hint);
  std::ifstream in(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(in), {}};
  LIGHTNING_CHECK(in.good() || in.eof(), DataError, path.string(),
                  ": reading failed, expected a readable file. HINT: check its permissions.");
  return text;
}

void write_file(const fs::path& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary);
  out << text << std::flush;
  LIGHTNING_CHECK(out.good(), DataError, path.string(), ": writing ", text.size(),
                  " bytes failed, expected a writable folder. HINT: "
                  "check that it exists and that there is room.");
}

// One token per line. A last line without line feed counts, as does an empty line before it.
std::vector<std::string> split_lines(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const bool carriage_return = end > begin && text[end - 1] == '\r';
    lines.push_back(text.substr(begin, end - begin - (carriage_return ? 1 : 0)));
    begin = end + 1;
  }
  return lines;
}

// The text of a special token: a string or {"content": string}.
void read_token(const Json& config, const char* key, std::string& token) {
  const auto entry = config.find(key);
  if (entry == config.end() || entry->is_null()) return;
  token = entry->is_object() ? entry->at("content").get<std::string>() : entry->get<std::string>();
}

void check_added_tokens(const Json& config, const WordPieceOptions& options,
                        const std::string& source) {
  const std::set<std::string> known = {options.unk_token, options.sep_token, options.pad_token,
                                       options.cls_token, options.mask_token};
  if (!config.contains("added_tokens_decoder")) return;
  for (const auto& [id, token] : config.at("added_tokens_decoder").items()) {
    const auto content = token.at("content").get<std::string>();
    LIGHTNING_CHECK(known.count(content) > 0, DataError, source, ": added token \"", content,
                    "\" (id ", id,
                    ") is not one of the five special tokens, expected no others. "
                    "HINT: use a model without added tokens.");
  }
}

WordPieceOptions parse_config(const std::string& text, const std::string& source) {
  WordPieceOptions options;
  try {
    const Json config = Json::parse(text);
    LIGHTNING_CHECK(config.is_object(), DataError, source, ": holds a JSON ", config.type_name(),
                    ", expected an object. HINT: copy the file from the model's folder again.");
    options.lowercase = config.value("do_lower_case", true);
    options.tokenize_chinese_chars = config.value("tokenize_chinese_chars", true);
    if (config.contains("strip_accents") && !config.at("strip_accents").is_null()) {
      options.strip_accents = config.at("strip_accents").get<bool>();
    }
    read_token(config, "unk_token", options.unk_token);
    read_token(config, "sep_token", options.sep_token);
    read_token(config, "pad_token", options.pad_token);
    read_token(config, "cls_token", options.cls_token);
    read_token(config, "mask_token", options.mask_token);
    check_added_tokens(config, options, source);
  } catch (const nlohmann::json::exception& error) {
    throw DataError(
        lightning::detail::concat(source, ": ", error.what(),
                                  ", expected a tokenizer's settings as JSON. HINT: copy the "
                                  "file from the model's folder again."));
  }
  return options;
}

}  // namespace

WordPieceTokenizer WordPieceTokenizer::from_folder(const fs::path& folder) {
  const fs::path vocab_path = folder / kVocabFile;
  const std::string vocab = read_file(
      vocab_path, "give the folder of a BERT model that holds config.json and vocab.txt.");
  const fs::path config_path = folder / kConfigFile;
  WordPieceOptions options;
  std::error_code error;
  if (fs::exists(config_path, error)) {
    const std::string config = read_file(config_path, "give a file, not a folder.");
    options = parse_config(config, config_path.string());
  }
  return WordPieceTokenizer(split_lines(vocab), std::move(options), vocab_path.string());
}

void WordPieceTokenizer::save(const fs::path& folder) const {
  std::string vocab;
  for (int32_t id = 0; id < vocab_size(); ++id) vocab += token(id) + '\n';
  write_file(folder / kVocabFile, vocab);

  const WordPieceOptions& chosen = options();
  Json config = {{"tokenizer_class", "BertTokenizer"},
                 {"do_lower_case", chosen.lowercase},
                 {"strip_accents", nullptr},
                 {"tokenize_chinese_chars", chosen.tokenize_chinese_chars},
                 {"unk_token", chosen.unk_token},
                 {"sep_token", chosen.sep_token},
                 {"pad_token", chosen.pad_token},
                 {"cls_token", chosen.cls_token},
                 {"mask_token", chosen.mask_token}};
  if (chosen.strip_accents) config["strip_accents"] = *chosen.strip_accents;
  write_file(folder / kConfigFile,
             config.dump(2, ' ', false, Json::error_handler_t::replace) + '\n');
}

}  // namespace bert_squad
