#include <lightning/checkpoint/detail/state_json.h>

#include <cmath>
#include <limits>
#include <type_traits>

#include <nlohmann/json.hpp>

namespace lightning::detail {
namespace {

using nlohmann::json;

json encode(bool value) { return value; }
json encode(int64_t value) { return value; }

/// JSON has no word for infinities and NaN.
json encode(double value) {
  if (std::isfinite(value)) return value;
  return std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf";
}

bool is_utf8(const std::string& text) {
  try {
    json(text).dump();
    return true;
  } catch (const json::exception&) {
    return false;
  }
}

/// Bytes that aren't UTF-8 (paths, for one) are written as numbers.
json encode(const std::string& value) {
  if (is_utf8(value)) return value;
  json bytes = json::array();
  for (const char byte : value) bytes.push_back(static_cast<unsigned char>(byte));
  return {{"bytes", bytes}};
}

json encode(const at::Tensor& /*value*/) { return {{"tensor", true}}; }

template <typename Item>
json encode(const std::vector<Item>& values) {
  json items = json::array();
  for (const Item& value : values) items.push_back(encode(value));
  // The type is named, for a list may be empty.
  if constexpr (std::is_same_v<Item, int64_t>) return {{"int64", items}};
  if constexpr (std::is_same_v<Item, double>) return {{"double", items}};
  if constexpr (std::is_same_v<Item, std::string>) return {{"string", items}};
}

double decode_double(const json& value) {
  if (!value.is_string()) return value.get<double>();
  const auto& word = value.get_ref<const std::string&>();
  if (word == "inf") return std::numeric_limits<double>::infinity();
  if (word == "-inf") return -std::numeric_limits<double>::infinity();
  if (word == "nan") return std::numeric_limits<double>::quiet_NaN();
  throw CheckpointError("\"" + word + "\" is not a number");
}

std::string decode_string(const json& value) {
  if (!value.is_object()) return value.get<std::string>();
  std::string text;
  for (const json& byte : value.at("bytes")) text += static_cast<char>(byte.get<int>());
  return text;
}

StateDict::Value decode_object(const json& value) {
  const std::string& kind = value.begin().key();
  const json& content = value.begin().value();
  if (kind == "bytes") return decode_string(value);
  // A lone double that JSON can't write.
  if (kind == "double" && content.is_string()) return decode_double(content);
  if (kind == "int64") return content.get<std::vector<int64_t>>();
  if (kind == "double") {
    std::vector<double> items;
    for (const json& item : content) items.push_back(decode_double(item));
    return items;
  }
  if (kind == "string") {
    std::vector<std::string> items;
    for (const json& item : content) items.push_back(decode_string(item));
    return items;
  }
  throw CheckpointError("\"" + kind + "\" is not a kind of value");
}

StateDict::Value decode(const json& value) {
  switch (value.type()) {
    case json::value_t::boolean:
      return value.get<bool>();
    case json::value_t::number_integer:
    case json::value_t::number_unsigned:
      return value.get<int64_t>();
    case json::value_t::number_float:
      return value.get<double>();
    case json::value_t::string:
      return value.get<std::string>();
    case json::value_t::object:
      if (value.size() == 1) return decode_object(value);
      [[fallthrough]];
    default:
      throw CheckpointError(value.dump() + " is not a value");
  }
}

json encode_value(const StateDict::Value& value) {
  json encoded = std::visit([](const auto& held) { return encode(held); }, value);
  if (std::holds_alternative<double>(value) && encoded.is_string()) return {{"double", encoded}};
  return encoded;
}

}  // namespace

std::string state_to_json(const StateDict& state) {
  std::string text = "{";
  for (const auto& [name, value] : state.entries()) {
    LIGHTNING_CHECK(is_utf8(name), CheckpointError, "StateDict: the name \"", name,
                    "\" isn't UTF-8 text, which a checkpoint needs.");
    text += text.size() > 1 ? ",\n  " : "\n  ";
    text += json(name).dump() + ": " + encode_value(value).dump();
  }
  return text + "\n}\n";
}

StateDict state_from_json(std::string_view text,
                          const std::function<at::Tensor(const std::string& name)>& tensor) {
  StateDict state;
  try {
    const auto all = nlohmann::ordered_json::parse(text);
    for (const auto& [name, entry] : all.items()) {
      const json value = entry;
      const bool is_tensor = value.is_object() && value.contains("tensor");
      state.set(name, is_tensor ? StateDict::Value(tensor(name)) : decode(value));
    }
  } catch (const json::exception& error) {
    throw CheckpointError(concat("state.json: ", error.what(), "."));
  }
  return state;
}

}  // namespace lightning::detail
