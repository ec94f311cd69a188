#include "export_folder.h"

#include <unistd.h>

#include <algorithm>
#include <string>
#include <string_view>

#include <lightning/util/error.h>
#include <lightning/util/file_system.h>
#include <nlohmann/json.hpp>

#include "pretrained.h"

namespace bert_squad {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using lightning::FileSystem;
using lightning::detail::concat;
using Files = std::vector<std::pair<std::string, std::string>>;  // name, content

bool has(const Files& files, std::string_view name) {
  return std::any_of(files.begin(), files.end(),
                     [&](const auto& file) { return file.first == name; });
}

std::string vocab_text(const WordPieceTokenizer& tokenizer) {
  std::string text;
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) text += tokenizer.token(id) + '\n';
  return text;
}

Json special_tokens(const WordPieceTokenizer& tokenizer) {
  const WordPieceOptions& options = tokenizer.options();
  Json tokens = {{"unk_token", options.unk_token},
                 {"sep_token", options.sep_token},
                 {"pad_token", options.pad_token},
                 {"cls_token", options.cls_token}};
  if (tokenizer.mask_id() >= 0) tokens["mask_token"] = options.mask_token;
  return tokens;
}

std::string tokenizer_config(const WordPieceTokenizer& tokenizer, int64_t num_positions) {
  const WordPieceOptions& options = tokenizer.options();
  Json config = {{"tokenizer_class", "BertTokenizer"},
                 {"do_lower_case", options.lowercase},
                 {"strip_accents", nullptr},
                 {"tokenize_chinese_chars", options.tokenize_chinese_chars},
                 {"model_max_length", num_positions}};
  if (options.strip_accents) config["strip_accents"] = *options.strip_accents;
  config.update(special_tokens(tokenizer));
  return config.dump(2) + "\n";
}

/// The tokenizer's files: the given ones, and what transformers expects beside them.
Files tokenizer_files(const SquadModule& module) {
  Files files;
  for (const auto& [name, content] : module.assets()) {
    if (name != "config.json") files.emplace_back(name, content);
  }
  const WordPieceTokenizer& tokenizer = module.tokenizer();
  if (!has(files, "vocab.txt") && !has(files, "tokenizer.json")) {
    files.emplace_back("vocab.txt", vocab_text(tokenizer));
  }
  if (!has(files, "tokenizer_config.json")) {
    files.emplace_back(
        "tokenizer_config.json",
        tokenizer_config(tokenizer, module.model()->config().max_position_embeddings));
  }
  if (!has(files, "special_tokens_map.json")) {
    files.emplace_back("special_tokens_map.json", special_tokens(tokenizer).dump(2) + "\n");
  }
  return files;
}

/// Without links, "." and a slash at the end, so that it has a name and a folder above it.
fs::path real_path(const fs::path& output) {
  const fs::path path = fs::weakly_canonical(fs::absolute(output)).lexically_normal();
  return path.has_filename() ? path : path.parent_path();
}

}  // namespace

void check_export_folder(const fs::path& output) {
  LIGHTNING_CHECK(!output.empty(), ConfigError,
                  "export: output is empty, expected a folder. HINT: pass --output FOLDER.");
  std::error_code error;
  const fs::file_status status = fs::status(output, error);
  LIGHTNING_CHECK(fs::exists(status) || !fs::is_symlink(fs::symlink_status(output, error)),
                  ConfigError, "export: output ", output.string(),
                  " is a link to something that isn't there, expected a new or an empty folder. "
                  "HINT: remove the link or choose a different name.");
  if (!fs::exists(status)) return;
  LIGHTNING_CHECK(fs::is_directory(status), ConfigError, "export: output ", output.string(),
                  " is a file, expected a new or an empty folder. HINT: choose a different name.");
  const bool is_empty = fs::is_empty(output, error);
  LIGHTNING_CHECK(is_empty && !error, ConfigError, "export: output ", output.string(), " ",
                  error ? concat("can't be read (", error.message(), ")")
                        : std::string("is a folder with files in it"),
                  ", expected a new or an empty folder. HINT: choose a different name; nothing is "
                  "overwritten.");
}

void export_folder(const SquadModule& module, const fs::path& output) {
  check_export_folder(output);
  module.require_head();
  const fs::path path = real_path(output);
  const fs::path temporary =
      path.parent_path() / concat(".", path.filename().string(), ".tmp-", ::getpid());
  FileSystem& disk = FileSystem::current();
  try {
    disk.remove_all(temporary);
    save_pretrained(*module.model(), temporary);
    for (const auto& [name, content] : tokenizer_files(module)) {
      lightning::write_file_atomically(temporary / name, content);
    }
    disk.rename(temporary, path);
  } catch (...) {
    try {
      disk.remove_all(temporary);
    } catch (const lightning::Error&) {  // NOLINT: the first error is the one to tell
    }
    throw;
  }
  disk.sync_directory(path.parent_path());
}

}  // namespace bert_squad
