#include <lightning/metrics/python_text.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <utility>

#include <lightning/metrics/detail/python_tables.h>
#include <lightning/util/detail/utf8.h>
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

CodePoints decode(std::string_view text) {
  CodePoints codes;
  codes.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const lightning::detail::CodePoint next = lightning::detail::decode_code_point(text.substr(at));
    LIGHTNING_CHECK(next.size > 0, DataError, "text: byte ", at, " of ", text.size(),
                    " begins no UTF-8 character, expected UTF-8. HINT: convert the text to UTF-8.");
    codes += next.value;
    at += next.size;
  }
  return codes;
}

std::string encode(const CodePoints& codes) {
  std::string text;
  for (const char32_t code : codes) lightning::detail::append_code_point(text, code);
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
      lightning::detail::append_code_point(word, code);
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
