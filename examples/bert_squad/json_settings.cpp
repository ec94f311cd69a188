#include "json_settings.h"

#include <fstream>
#include <vector>

#include <lightning/util/error.h>

#include "utf8.h"

namespace bert_squad {

namespace fs = std::filesystem;
using lightning::DataError;
using lightning::detail::concat;

namespace {

constexpr uintmax_t kMaxBytes = uintmax_t{128} << 20;
constexpr int kMaxDepth = 32;

bool is_empty(const Json& value) {
  return value.is_null() || value == Json(false) || value == Json("") ||
         ((value.is_array() || value.is_object()) && value.empty());
}

}  // namespace

std::string read_model_file(const fs::path& path, std::string_view hint) {
  std::error_code error;
  LIGHTNING_CHECK(fs::is_regular_file(path, error), DataError, path.string(),
                  ": there is no such file, expected a regular file. HINT: ", hint);
  const uintmax_t size = fs::file_size(path, error);
  LIGHTNING_CHECK(!error && size <= kMaxBytes, DataError, path.string(), ": has ", size,
                  " bytes, expected at most ", kMaxBytes, ". HINT: ", hint);
  std::ifstream in(path, std::ios::binary);
  std::string text(static_cast<size_t>(size), '\0');
  in.read(text.data(), static_cast<std::streamsize>(size));
  LIGHTNING_CHECK(in.good() && in.gcount() == static_cast<std::streamsize>(size), DataError,
                  path.string(),
                  ": reading failed, expected a readable file. HINT: check its permissions.");
  check_is_text(text, path.string());
  return text;
}

Json parse_settings(const std::string& text, const std::string& source) {
  // The parser itself lets the last of several equal keys win, and nests without a limit.
  std::vector<std::set<std::string>> keys;
  const Json::parser_callback_t check = [&](int depth, Json::parse_event_t event, Json& value) {
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    LIGHTNING_CHECK(
        event != Json::parse_event_t::key || keys.back().insert(value.get<std::string>()).second,
        DataError, source, ": the key ", shown(value),
        " is there twice in one object, expected each key once. HINT: copy the file from the "
        "model's folder again.");
    LIGHTNING_CHECK(depth <= kMaxDepth, DataError, source, ": is nested more than ", kMaxDepth,
                    " levels deep, expected settings as transformers writes them. HINT: copy the "
                    "file from the model's folder again.");
    return true;
  };
  Json json;
  try {
    json = Json::parse(text, check);
  } catch (const nlohmann::json::exception& error) {
    throw DataError(concat(source, ": not valid JSON: ", error.what(),
                           ", expected settings as transformers writes them. HINT: copy the file "
                           "from the model's folder again."));
  }
  LIGHTNING_CHECK(json.is_object(), DataError, source, ": the top level is not an object but ",
                  shown(json),
                  ", expected {\"key\": value, ...}. HINT: copy the file from the model's folder "
                  "again.");
  return json;
}

std::string shown(const Json& value) {
  constexpr size_t kLongest = 120;
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() <= kLongest) return text;
  size_t end = kLongest;
  while (end > 0 && (static_cast<uint8_t>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(0, end) + "...";
}

Settings::Settings(const Json& object, std::string source, std::string path)
    : object_(&object), source_(std::move(source)), path_(std::move(path)) {}

const Json* Settings::find(std::string_view key) {
  used_.emplace(key);
  const auto found = object_->find(key);
  return found == object_->end() || found->is_null() ? nullptr : &*found;
}

bool Settings::has(std::string_view key) const { return object_->contains(key); }

std::optional<bool> Settings::boolean(std::string_view key) {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) fail(key, "true or false");
  return value->get<bool>();
}

std::optional<std::string> Settings::text(std::string_view key) {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) fail(key, "a string");
  return value->get<std::string>();
}

std::optional<int64_t> Settings::integer(std::string_view key, int64_t min, int64_t max) {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number_integer()) fail(key, "an integer");
  // Unsigned numbers above int64_t's are integers, too.
  const bool fits = !value->is_number_unsigned() || value->get<uint64_t>() <= INT64_MAX;
  if (!fits || value->get<int64_t>() < min || value->get<int64_t>() > max) {
    fail(key, concat("an integer from ", min, " to ", max));
  }
  return value->get<int64_t>();
}

std::optional<double> Settings::number(std::string_view key) {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) fail(key, "a number");
  return value->get<double>();
}

std::optional<Settings> Settings::object(std::string_view key) {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_object()) fail(key, "an object");
  return Settings(*value, source_, concat(path_, key, "."));
}

void Settings::require(std::string_view key, const Json& expected, std::string_view why) {
  const Json* value = find(key);
  if (value != nullptr && *value != expected) fail(key, concat(shown(expected), ": ", why));
}

void Settings::refuse(std::string_view key, std::string_view why) {
  const Json* value = find(key);
  if (value != nullptr && !is_empty(*value)) fail(key, concat("none: ", why));
}

void Settings::without_effect(std::string_view key) { used_.emplace(key); }

void Settings::without_effect(std::span<const HarmlessSetting> settings) {
  for (const HarmlessSetting& setting : settings) {
    if (setting.name.starts_with(path_)) used_.emplace(setting.name.substr(path_.size()));
  }
}

void Settings::refuse_rest() const {
  for (const auto& [key, value] : object_->items()) {
    if (used_.contains(key) || value.is_null()) continue;
    fail(key, "no such setting: it is unknown here, and could change the results",
         "remove it from the file if it doesn't; docs/bert_squad.md lists the known ones.");
  }
}

void Settings::fail(std::string_view key, std::string_view expected, std::string_view hint) const {
  const auto found = object_->find(key);
  throw DataError(concat(source_, ": \"", path_, key, "\" is ",
                         found == object_->end() ? "missing" : shown(*found), ", expected ",
                         expected, ". HINT: ", hint));
}

}  // namespace bert_squad
