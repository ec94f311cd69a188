#include <lightning/config/value_io.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include <lightning/config/detail/duration.h>
#include <lightning/config/detail/names.h>
#include <lightning/config/options.h>
#include <lightning/config/yaml.h>

namespace lightning::config {
namespace detail {
namespace {

/// `source: path is "value", expected X.`, with an optional hint.
[[noreturn]] void throw_wrong(const ConfigNode& node, std::string_view path,
                              std::string_view expected, const std::string& hint = {}) {
  std::string value;
  switch (node.kind()) {
    case ConfigNode::Kind::kNull:
      value = "null";
      break;
    case ConfigNode::Kind::kList:
      value = "a list";
      break;
    case ConfigNode::Kind::kMap:
      value = "a map";
      break;
    case ConfigNode::Kind::kScalar:
      value = (node.quoted() ? "the quoted string \"" : "\"") + node.text() + "\"";
      break;
  }
  throw ConfigError(lightning::detail::concat(
      node.source().to_string(), ": ", path.empty() ? "the top level" : path, " is ", value,
      ", expected ", expected, ".", hint.empty() ? "" : " HINT: " + hint));
}

/// The text of an unquoted scalar; throws for anything else.
const std::string& plain_text(const ConfigNode& node, std::string_view path,
                              std::string_view expected) {
  if (node.kind() != ConfigNode::Kind::kScalar) throw_wrong(node, path, expected);
  if (node.quoted()) throw_wrong(node, path, expected, "remove the quotes.");
  return node.text();
}

template <typename T>
bool parse_whole(std::string_view text, T& value, std::errc& error) {
  // from_chars knows no plus sign.
  if (text.size() > 1 && text[0] == '+' && text[1] != '-') text.remove_prefix(1);
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  error = result.ec;
  return result.ec != std::errc::invalid_argument && result.ptr == text.data() + text.size();
}

/// "write 1000" for "1e3": the integer that was meant.
std::string integer_hint(std::string_view text) {
  double value = 0.0;
  std::errc error{};
  const bool is_whole = parse_whole(text, value, error) && error == std::errc() &&
                        std::abs(value) < 1e15 && value == std::trunc(value);
  return is_whole ? "write " + std::to_string(static_cast<int64_t>(value)) + "." : "";
}

template <typename T>
T read_integer(const ConfigNode& node, std::string_view path, T smallest, T largest) {
  const std::string& text = plain_text(node, path, "an integer");
  T value = 0;
  std::errc error{};
  if constexpr (std::is_unsigned_v<T>) {
    int64_t negative = 0;
    if (text.starts_with('-') && parse_whole(text, negative, error)) {
      throw_wrong(node, path, "an integer from 0 to " + std::to_string(largest));
    }
  }
  if (!parse_whole(text, value, error)) throw_wrong(node, path, "an integer", integer_hint(text));
  if (error == std::errc::result_out_of_range || value < smallest || value > largest) {
    throw_wrong(node, path,
                "an integer from " + std::to_string(smallest) + " to " + std::to_string(largest));
  }
  return value;
}

template <typename T>
T read_floating(const ConfigNode& node, std::string_view path) {
  std::string text = plain_text(node, path, "a number");
  // YAML's ".inf" and ".nan"; from_chars takes them without the dot.
  const size_t start = text.starts_with('-') || text.starts_with('+') ? 1 : 0;
  const std::string word = text.substr(start);
  if (word == ".inf" || word == ".nan") text.erase(start, 1);
  T value = 0;
  std::errc error{};
  const bool is_name = word == ".inf" || word == ".nan" || word == "inf" || word == "nan";
  const bool has_letters = word.find_first_not_of("0123456789.eE+-") != std::string::npos;
  if ((has_letters && !is_name) || !parse_whole(text, value, error)) {
    throw_wrong(node, path, "a number");
  }
  if (error == std::errc::result_out_of_range) {
    throw_wrong(node, path,
                std::string("a number that fits in ") + (sizeof(T) == 4 ? "32" : "64") +
                    "-bit floating point");
  }
  return value;
}

template <typename T>
ConfigNode write_floating(T value) {
  if (std::isnan(value)) return ConfigNode::scalar(".nan");
  if (std::isinf(value)) return ConfigNode::scalar(value > 0 ? ".inf" : "-.inf");
  std::array<char, 64> buffer{};
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value).ptr;
  std::string text(buffer.data(), end);
  // Without a dot, YAML 1.1 readers take 1e-05 for a string and every reader 16 for an integer.
  if (text.find('.') == std::string::npos) text.insert(std::min(text.find('e'), text.size()), ".0");
  return ConfigNode::scalar(std::move(text));
}

}  // namespace

bool read_bool(const ConfigNode& node, std::string_view path) {
  const std::string& text = plain_text(node, path, "true or false");
  if (text == "true") return true;
  if (text == "false") return false;
  std::string lower(text);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  const auto is_any = [&](std::initializer_list<std::string_view> words) {
    return std::find(words.begin(), words.end(), lower) != words.end();
  };
  std::string hint;
  if (is_any({"true", "yes", "on", "y", "1"})) hint = "write true.";
  if (is_any({"false", "no", "off", "n", "0"})) hint = "write false.";
  throw_wrong(node, path, "true or false", hint);
}

int64_t read_signed(const ConfigNode& node, std::string_view path, int64_t smallest,
                    int64_t largest) {
  return read_integer<int64_t>(node, path, smallest, largest);
}

uint64_t read_unsigned(const ConfigNode& node, std::string_view path, uint64_t largest) {
  return read_integer<uint64_t>(node, path, 0, largest);
}

double read_double(const ConfigNode& node, std::string_view path) {
  return read_floating<double>(node, path);
}

float read_float(const ConfigNode& node, std::string_view path) {
  return read_floating<float>(node, path);
}

std::string read_string(const ConfigNode& node, std::string_view path, std::string_view expected) {
  if (node.is_null()) throw_wrong(node, path, expected, "write \"null\" in quotes for that word.");
  if (node.kind() != ConfigNode::Kind::kScalar) throw_wrong(node, path, expected);
  return node.text();
}

size_t read_choice(const ConfigNode& node, std::string_view path,
                   const std::vector<std::string>& choices, std::string_view expected) {
  if (node.kind() != ConfigNode::Kind::kScalar) throw_wrong(node, path, expected);
  const auto found = std::find(choices.begin(), choices.end(), node.text());
  if (found != choices.end()) return static_cast<size_t>(found - choices.begin());
  const std::string nearest = nearest_name(node.text(), choices);
  throw_wrong(node, path, expected, nearest.empty() ? "" : "did you mean \"" + nearest + "\"?");
}

std::chrono::milliseconds read_duration(const ConfigNode& node, std::string_view path,
                                        std::chrono::milliseconds unit) {
  const std::string form = "a duration such as 90s, 15min, 2h or DD:HH:MM:SS";
  if (node.kind() != ConfigNode::Kind::kScalar) throw_wrong(node, path, form);
  const auto duration = parse_duration(node.text());
  if (!duration) throw_wrong(node, path, form);
  if (duration->count() % unit.count() != 0) {
    throw_wrong(node, path, "a whole number of " + duration_text(unit) + " units");
  }
  return *duration;
}

std::string read_text(const ConfigNode& node, std::string_view path, std::string_view expected) {
  if (node.is_null()) throw_wrong(node, path, expected);
  return node.kind() == ConfigNode::Kind::kScalar ? node.text() : to_flow_yaml(node);
}

const std::vector<ConfigNode>& read_list(const ConfigNode& node, std::string_view path,
                                         std::string_view expected) {
  if (node.kind() != ConfigNode::Kind::kList) {
    throw_wrong(node, path, expected,
                node.kind() == ConfigNode::Kind::kScalar ? "write [" + node.text() + "]." : "");
  }
  return node.items();
}

void read_struct(const ConfigNode& node, void* object, std::string_view path,
                 const StructInfo& info) {
  // A section with nothing below it.
  if (node.is_null()) return;
  if (node.kind() != ConfigNode::Kind::kMap) throw_wrong(node, path, "a map of keys");
  for (const auto& [key, value] : node.entries()) {
    const auto field = std::find_if(info.fields.begin(), info.fields.end(),
                                    [&](const FieldInfo& f) { return f.name == key; });
    if (field == info.fields.end()) {
      std::vector<std::string> known;
      for (const FieldInfo& f : info.fields) known.push_back(f.name);
      throw_unknown_key(value, key, path, known);
    }
    field->type->read(value, static_cast<char*>(object) + field->offset, join_path(path, key));
  }
}

ConfigNode write_double(double value) { return write_floating(value); }

ConfigNode write_float(float value) { return write_floating(value); }

ConfigNode write_string(std::string value) {
  const bool quoted = reads_as_other_type(value);
  ConfigNode node = ConfigNode::scalar(std::move(value));
  node.set_quoted(quoted);
  return node;
}

ConfigNode write_duration(std::chrono::milliseconds value) {
  return ConfigNode::scalar(duration_text(value));
}

ConfigNode write_text(std::string text) {
  if (text.starts_with('[') || text.starts_with('{')) return parse_yaml(text, "to_text()");
  return ConfigNode::scalar(std::move(text));
}

ConfigNode write_struct(const void* object, const StructInfo& info) {
  ConfigNode node = ConfigNode::map();
  for (const FieldInfo& field : info.fields) {
    node.set(field.name, field.type->write(static_cast<const char*>(object) + field.offset));
  }
  return node;
}

std::string expected_choice(const std::vector<std::string>& choices) {
  std::string list;
  for (size_t i = 0; i < choices.size(); ++i) {
    if (i > 0) list += choices.size() == 2 ? " or " : ", ";
    list += "\"" + choices[i] + "\"";
  }
  return (choices.size() > 2 ? "one of " : "") + list;
}

void throw_located(const ConfigNode& node, std::string_view path, std::string_view text,
                   const ConfigError& error) {
  const std::string_view what = error.what();
  throw ConfigError(
      lightning::detail::concat(node.source().to_string(), ": ", path, " is \"", text,
                                what.starts_with("expected ") ? "\", " : "\": ", what));
}

}  // namespace detail
}  // namespace lightning::config
