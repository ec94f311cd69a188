#include <algorithm>
#include <array>
#include <cstdio>

#include <lightning/config/yaml.h>

namespace lightning::config {
namespace {

constexpr size_t kLineWidth = 100;

bool is_one_of(std::string_view text, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), text) != words.end();
}

/// Whether the parser gives back exactly this scalar when it is written without quotes.
bool is_plain_safe(std::string_view text) {
  if (text.empty() || text.front() == ' ' || text.back() == ' ' || text.back() == ':') return false;
  if (is_one_of(text, {"~", "null", "Null", "NULL", "---", "..."})) return false;
  if (std::string_view("!&*?|>%@`\"'#,[]{}").find(text.front()) != std::string_view::npos) {
    return false;
  }
  if (text.front() == '-' && (text.size() == 1 || text[1] == ' ' || text[1] == '-')) return false;
  if (text.front() == ':' || text.front() == '=') return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    // Text beyond ASCII may hold line breaks and marks that a reader drops; quotes keep it.
    if (byte < 0x20 || byte >= 0x7F) return false;
    // yaml-cpp ends a scalar in a flow list at a question mark, too.
    if (std::string_view(",[]{}?").find(text[i]) != std::string_view::npos) return false;
    if (text[i] == '#' && i > 0 && text[i - 1] == ' ') return false;
    if (text[i] == ':' && i + 1 < text.size() && text[i + 1] == ' ') return false;
  }
  return true;
}

/// Length in bytes and value of the UTF-8 sequence at the start of `text`; bytes that aren't UTF-8
/// count one by one.
std::pair<size_t, uint32_t> next_code_point(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  const size_t length = lead < 0xC0 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  if (length == 1 || text.size() < length) return {1, lead};
  uint32_t value = lead & (0xFFu >> (length + 1));
  for (size_t i = 1; i < length; ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xC0u) != 0x80u) return {1, lead};
    value = value << 6 | (static_cast<unsigned char>(text[i]) & 0x3Fu);
  }
  return {length, value};
}

std::string quote(std::string_view text) {
  std::string quoted = "\"";
  while (!text.empty()) {
    const auto [length, code_point] = next_code_point(text);
    const bool invisible = code_point < 0x20 || (code_point >= 0x7F && code_point < 0xA0) ||
                           code_point == 0x2028 || code_point == 0x2029 || code_point == 0xFEFF;
    if (code_point == '"' || code_point == '\\') {
      quoted += {'\\', static_cast<char>(code_point)};
    } else if (code_point == '\n') {
      quoted += "\\n";
    } else if (code_point == '\t') {
      quoted += "\\t";
    } else if (invisible) {
      std::array<char, 16> escape{};
      std::snprintf(escape.data(), escape.size(), "\\u%04X", static_cast<unsigned>(code_point));
      quoted += escape.data();
    } else {
      quoted += text.substr(0, length);
    }
    text.remove_prefix(length);
  }
  return quoted + "\"";
}

std::string scalar_text(const ConfigNode& node) {
  if (node.is_null()) return "null";
  return node.quoted() || !is_plain_safe(node.text()) ? quote(node.text()) : node.text();
}

std::string key_text(const std::string& key) { return is_plain_safe(key) ? key : quote(key); }

bool is_leaf(const ConfigNode& node) {
  return node.is_null() || node.kind() == ConfigNode::Kind::kScalar;
}

bool fits_on_line(const ConfigNode& node, size_t width) {
  if (is_leaf(node) || (node.items().empty() && node.entries().empty())) return true;
  if (node.kind() == ConfigNode::Kind::kMap) return false;
  const bool plain = std::all_of(node.items().begin(), node.items().end(), [](const auto& item) {
    return is_leaf(item) && item.comment().empty();
  });
  return plain && to_flow_yaml(node).size() <= width;
}

class Writer {
 public:
  /// Writes the entries or items of `node`, each on separate lines. The first line begins at the
  /// cursor when `at_cursor`, so that "- key: value" stays on one line.
  void write_block(const ConfigNode& node, size_t indent, bool at_cursor) {
    for (const auto& [key, value] : node.entries()) {
      begin_line(value, indent, at_cursor);
      at_cursor = false;
      out_ += key_text(key) + ":";
      write_value(value, indent + 2, /*in_list=*/false);
    }
    for (const ConfigNode& item : node.items()) {
      begin_line(item, indent, at_cursor);
      at_cursor = false;
      out_ += "-";
      write_value(item, indent + 2, /*in_list=*/true);
    }
  }
  std::string take() { return std::move(out_); }

 private:
  void begin_line(const ConfigNode& node, size_t indent, bool at_cursor) {
    std::string_view comment = node.comment();
    if (!comment.empty() && at_cursor) {
      // The cursor stands behind a dash: the comment gets a line, the entry the next one.
      out_ += "\n";
      at_cursor = false;
    }
    while (!comment.empty()) {
      const size_t end = comment.find('\n');
      const std::string_view line = comment.substr(0, end);
      out_.append(indent, ' ').append(line.empty() ? "#" : "# ").append(line).append("\n");
      comment.remove_prefix(end == std::string_view::npos ? comment.size() : end + 1);
    }
    if (!at_cursor) out_.append(indent, ' ');
  }
  void write_value(const ConfigNode& value, size_t indent, bool in_list) {
    const size_t column = out_.size() - (out_.rfind('\n') + 1);
    if (fits_on_line(value, kLineWidth - std::min(kLineWidth, column))) {
      out_.append(" ").append(to_flow_yaml(value)).append("\n");
      return;
    }
    const bool same_line = in_list && value.kind() == ConfigNode::Kind::kMap &&
                           value.entries().front().second.comment().empty();
    out_ += same_line ? " " : "\n";
    write_block(value, indent, same_line);
  }

  std::string out_;
};

}  // namespace

bool reads_as_other_type(std::string_view text) {
  if (text.empty() || is_one_of(text, {"~", "=", "<<"})) return true;
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  if (is_one_of(lower, {"null", "true", "false", "yes", "no", "on", "off", "y", "n"})) return true;
  std::string_view number = lower;
  if (number.front() == '+' || number.front() == '-') number.remove_prefix(1);
  if (is_one_of(number, {".inf", ".nan"})) return true;
  const size_t digit = number.find_first_not_of('.');
  if (digit > 1 || number[digit] < '0' || number[digit] > '9') return false;
  // Only what numbers, dates and times are made of; "16-mixed" and "2h" are text to every reader.
  return number.find_first_not_of("0123456789+-.:_ xotzabcdef") == std::string_view::npos;
}

std::string to_flow_yaml(const ConfigNode& node) {
  if (is_leaf(node)) return scalar_text(node);
  const bool is_map = node.kind() == ConfigNode::Kind::kMap;
  std::string out = is_map ? "{" : "[";
  for (const auto& [key, value] : node.entries()) {
    if (out.size() > 1) out += ", ";
    out += key_text(key) + ": " + to_flow_yaml(value);
  }
  for (const ConfigNode& item : node.items()) {
    if (out.size() > 1) out += ", ";
    out += to_flow_yaml(item);
  }
  return out + (is_map ? "}" : "]");
}

std::string to_yaml(const ConfigNode& node) {
  if (is_leaf(node) || (node.items().empty() && node.entries().empty())) {
    return to_flow_yaml(node) + "\n";
  }
  Writer writer;
  writer.write_block(node, 0, false);
  return writer.take();
}

}  // namespace lightning::config
