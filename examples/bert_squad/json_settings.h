// Settings in JSON files of model folders. Others made these files: sizes and depths have limits,
// and no key is passed over in silence.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "harmless_settings.h"

namespace bert_squad {

using Json = nlohmann::json;

/// The bytes of a regular file (or a link to one, as in Hugging Face's cache) of at most 128 MiB.
/// Throws lightning::DataError, also for what check_is_text() refuses, else ending with `hint`,
/// "HINT: ..." without these words.
std::string read_model_file(const std::filesystem::path& path,
                            std::string_view hint = "copy the model's folder again.");

/// Throws lightning::DataError for what isn't JSON or no object, for a key that an object has
/// twice, and for more than 32 levels.
Json parse_settings(const std::string& text, const std::string& source);

/// A value as errors show it: cut to a line's length, always valid UTF-8.
std::string shown(const Json& value);

/// One object whose keys are read one by one; in the end refuse_rest() refuses those that weren't
/// read. null is "not set". Errors are lightning::DataError and name source, key and value.
class Settings {
 public:
  /// `object` must outlive this. `path` stands before keys in errors: "normalizer.".
  Settings(const Json& object, std::string source, std::string path = "");

  /// nullptr when absent or null.
  const Json* find(std::string_view key);
  /// Whether the key is there, be it null.
  bool has(std::string_view key) const;
  std::optional<bool> boolean(std::string_view key);
  std::optional<std::string> text(std::string_view key);
  /// Throws also for numbers outside [min, max].
  std::optional<int64_t> integer(std::string_view key, int64_t min, int64_t max);
  std::optional<double> number(std::string_view key);
  /// Like `find`, of an object; the reader of its members outlives the call to this object's owner.
  std::optional<Settings> object(std::string_view key);

  /// Refuses each value but `expected` (which null and an absent key stand for).
  void require(std::string_view key, const Json& expected, std::string_view why);
  /// Refuses the key when it is set to anything but false, "", [] or {}.
  void refuse(std::string_view key, std::string_view why);
  void without_effect(std::string_view key);
  void without_effect(std::span<const HarmlessSetting> settings);
  /// Refuses keys that none of the functions above was asked for.
  void refuse_rest() const;

  [[noreturn]] void fail(std::string_view key, std::string_view expected,
                         std::string_view hint =
                             "use a model whose folder says so, or save the "
                             "tokenizer or model again.") const;
  const std::string& source() const { return source_; }

 private:
  const Json* object_;
  std::string source_;
  std::string path_;
  std::set<std::string, std::less<>> used_;
};

}  // namespace bert_squad
