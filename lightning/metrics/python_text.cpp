#include <lightning/metrics/python_text.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <utility>

#include <lightning/metrics/detail/python_tables.h>
#include <lightning/util/error.h>

namespace lightning::metrics {
namespace {

constexpr char32_t kCapitalSigma = 0x3A3;
constexpr char32_t kFinalSigma = 0x3C2;
constexpr char32_t kCapitalIWithDot = 0x130;
constexpr char32_t kDotAbove = 0x307;

using CodePoints = std::u32string;

bool has(char32_t code, uint8_t flag) {
  const auto ranges = detail::python_char_ranges();
  const auto after = std::upper_bound(
      ranges.begin(), ranges.end(), code,
      [](char32_t c, const detail::PythonCharRange& range) { return c < range.first; });
  return ((after - 1)->flags & flag) != 0;
}

/// Reads a code point at `at` and moves on; false where bytes are no UTF-8: cut off, overlong, a
/// surrogate, too large.
bool read(std::string_view text, size_t& at, char32_t& code) {
  const auto lead = static_cast<uint8_t>(text[at]);
  const size_t size = lead < 0x80 ? 1 : lead < 0xC0 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  if (size == 0 || lead >= 0xF8 || text.size() - at < size) return false;
  code = size == 1 ? lead : lead & (0xFFU >> (size + 1));
  for (size_t i = 1; i < size; ++i) {
    const auto byte = static_cast<uint8_t>(text[at + i]);
    if ((byte & 0xC0) != 0x80) return false;
    code = (code << 6) | (byte & 0x3FU);
  }
  static constexpr char32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  at += size;
  return code >= kLeast[size] && code <= 0x10FFFF && !(code >= 0xD800 && code < 0xE000);
}

CodePoints decode(std::string_view text) {
  CodePoints codes;
  codes.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    char32_t code = 0;
    LIGHTNING_CHECK(read(text, at, code), DataError, "text: byte ", begin, " of ", text.size(),
                    " begins no UTF-8 character, expected UTF-8. HINT: convert the text to UTF-8.");
    codes += code;
  }
  return codes;
}

void append(std::string& text, char32_t code) {
  if (code < 0x80) {
    text += static_cast<char>(code);
    return;
  }
  const int tails = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
  static constexpr uint8_t kLead[] = {0, 0xC0, 0xE0, 0xF0};
  text += static_cast<char>(kLead[tails] | code >> (6 * tails));
  for (int i = tails - 1; i >= 0; --i) text += static_cast<char>(0x80U | (code >> (6 * i) & 0x3FU));
}

std::string encode(const CodePoints& codes) {
  std::string text;
  for (const char32_t code : codes) append(text, code);
  return text;
}

/// Whether the capital sigma at `index` ends a word.
bool is_final_sigma(const CodePoints& codes, size_t index) {
  const auto is_cased_letter = [](auto begin, auto end) {
    const auto found = std::find_if(
        begin, end, [](char32_t code) { return !has(code, detail::kPythonCaseIgnorable); });
    return found != end && has(*found, detail::kPythonCased);
  };
  const auto sigma = codes.begin() + static_cast<std::ptrdiff_t>(index);
  return is_cased_letter(std::make_reverse_iterator(sigma), codes.rend()) &&
         !is_cased_letter(sigma + 1, codes.end());
}

char32_t lower_of(char32_t code) {
  const auto runs = detail::python_lower_runs();
  const auto after =
      std::upper_bound(runs.begin(), runs.end(), code,
                       [](char32_t c, const detail::PythonLowerRun& run) { return c < run.first; });
  if (after == runs.begin()) return code;
  const detail::PythonLowerRun& run = *(after - 1);
  const bool is_in = code <= run.last && (code - run.first) % run.step == 0;
  return is_in ? code + static_cast<char32_t>(run.offset) : code;
}

CodePoints lower(const CodePoints& codes) {
  CodePoints result;
  for (size_t i = 0; i < codes.size(); ++i) {
    if (codes[i] == kCapitalSigma && is_final_sigma(codes, i)) {
      result += kFinalSigma;
    } else if (codes[i] == kCapitalIWithDot) {
      result += {U'i', kDotAbove};
    } else {
      result += lower_of(codes[i]);
    }
  }
  return result;
}

void remove_ascii_punctuation(CodePoints& codes) {
  static constexpr std::u32string_view kPunctuation = U"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
  std::erase_if(codes,
                [](char32_t c) { return kPunctuation.find(c) != std::u32string_view::npos; });
}

/// re.sub(r"\b(a|an|the)\b", " ", text)
CodePoints without_articles(const CodePoints& codes) {
  CodePoints result;
  CodePoints word;
  const auto end_word = [&] {
    const bool article = word == U"a" || word == U"an" || word == U"the";
    result += article ? U" " : word;
    word.clear();
  };
  for (const char32_t code : codes) {
    if (has(code, detail::kPythonWord)) {
      word += code;
    } else {
      end_word();
      result += code;
    }
  }
  end_word();
  return result;
}

std::vector<std::string> split(const CodePoints& codes) {
  std::vector<std::string> words;
  std::string word;
  for (const char32_t code : codes) {
    if (!has(code, detail::kPythonSpace)) {
      append(word, code);
    } else if (!word.empty()) {
      words.push_back(std::exchange(word, {}));
    }
  }
  if (!word.empty()) words.push_back(std::move(word));
  return words;
}

}  // namespace

std::string python_lower(std::string_view text) { return encode(lower(decode(text))); }

std::vector<std::string> python_split(std::string_view text) { return split(decode(text)); }

std::string normalize_answer(std::string_view text) {
  CodePoints codes = lower(decode(text));
  remove_ascii_punctuation(codes);
  std::string result;
  for (const std::string& word : split(without_articles(codes))) {
    result += (result.empty() ? "" : " ") + word;
  }
  return result;
}

}  // namespace lightning::metrics
