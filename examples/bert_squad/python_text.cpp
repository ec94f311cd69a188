#include "python_text.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "python_tables.h"
#include "unicode_tables.h"
#include "utf8.h"

namespace bert_squad {
namespace {

constexpr char32_t kCapitalSigma = 0x3A3;
constexpr char32_t kFinalSigma = 0x3C2;

bool has(char32_t code, uint8_t flag) {
  const auto ranges = python_char_ranges();
  const auto after =
      std::upper_bound(ranges.begin(), ranges.end(), code,
                       [](char32_t c, const PythonCharRange& range) { return c < range.first; });
  return ((after - 1)->flags & flag) != 0;
}

std::u32string decode(std::string_view text) {
  std::u32string codes;
  codes.reserve(text.size());
  while (!text.empty()) {
    const CodePoint point = decode_code_point(text);
    if (point.size == 0) throw_invalid_utf8(text, 0);
    codes += point.value;
    text.remove_prefix(point.size);
  }
  return codes;
}

void append(std::string& text, char32_t code) {
  char bytes[4];
  text.append(bytes, encode_code_point(code, bytes));
}

/// Whether the capital sigma at `index` ends a word.
bool is_final_sigma(const std::u32string& codes, size_t index) {
  const auto is_cased_letter = [&](auto begin, auto end) {
    const auto found =
        std::find_if(begin, end, [](char32_t code) { return !has(code, kPythonCaseIgnorable); });
    return found != end && has(*found, kPythonCased);
  };
  const auto sigma = codes.begin() + static_cast<std::ptrdiff_t>(index);
  return is_cased_letter(std::make_reverse_iterator(sigma), codes.rend()) &&
         !is_cased_letter(sigma + 1, codes.end());
}

void append_lowered(std::string& text, char32_t code) {
  const auto table = char_lowercases();
  const auto found =
      std::lower_bound(table.begin(), table.end(), code,
                       [](const CharLowercase& entry, char32_t c) { return entry.code < c; });
  for (const char32_t part : found->parts) {
    if (part != 0) append(text, part);
  }
}

}  // namespace

std::string python_lower(std::string_view text) {
  const std::u32string codes = decode(text);
  std::string result;
  for (size_t i = 0; i < codes.size(); ++i) {
    if (codes[i] == kCapitalSigma && is_final_sigma(codes, i)) {
      append(result, kFinalSigma);
    } else if (has(codes[i], kPythonLowered)) {
      append_lowered(result, codes[i]);
    } else {
      append(result, codes[i]);
    }
  }
  return result;
}

std::string remove_ascii_punctuation(std::string_view text) {
  static constexpr std::string_view kPunctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
  std::string result;
  for (const char c : text) {
    if (kPunctuation.find(c) == std::string_view::npos) result += c;
  }
  return result;
}

std::string remove_articles(std::string_view text) {
  std::string result;
  std::string word;
  const auto end_word = [&] {
    const bool article = word == "a" || word == "an" || word == "the";
    result += article ? " " : word;
    word.clear();
  };
  for (const char32_t code : decode(text)) {
    if (has(code, kPythonWord)) {
      append(word, code);
    } else {
      end_word();
      append(result, code);
    }
  }
  end_word();
  return result;
}

std::vector<std::string> python_split(std::string_view text) {
  std::vector<std::string> words;
  std::string word;
  for (const char32_t code : decode(text)) {
    if (!has(code, kPythonSpace)) {
      append(word, code);
    } else if (!word.empty()) {
      words.push_back(std::exchange(word, {}));
    }
  }
  if (!word.empty()) words.push_back(std::move(word));
  return words;
}

}  // namespace bert_squad
