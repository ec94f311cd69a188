#include "utf8.h"

#include <algorithm>
#include <array>
#include <cstring>

#include <lightning/util/error.h>
#include <lightning/util/file_system.h>

namespace bert_squad {
namespace {

bool is_continuation(char byte) { return (static_cast<uint8_t>(byte) & 0xC0) == 0x80; }

// True when the next 8 bytes are all ASCII: then bytes and code points agree.
bool eight_ascii(const char* bytes) {
  uint64_t word = 0;
  std::memcpy(&word, bytes, sizeof(word));
  return (word & 0x8080808080808080U) == 0;
}

// Moves `byte` past up to `count` code points and returns how many there were.
int64_t skip(std::string_view text, size_t& byte, int64_t count) {
  int64_t done = 0;
  while (done < count && byte < text.size()) {
    if (count - done >= 8 && text.size() - byte >= 8 && eight_ascii(text.data() + byte)) {
      byte += 8;
      done += 8;
      continue;
    }
    const CodePoint code_point = decode_code_point(text.substr(byte, 4));
    if (code_point.size == 0) throw_invalid_utf8(text, byte);
    byte += code_point.size;
    ++done;
  }
  return done;
}

constexpr std::string_view kHexDigits = "0123456789abcdef";

std::string hex_byte(char byte) {
  const auto value = static_cast<uint8_t>(byte);
  return {kHexDigits[value >> 4], kHexDigits[value & 15]};
}

bool is_control(char32_t value) { return value < 0x20 || (value >= 0x7F && value < 0xA0); }

/// The kind of file that other bytes than text's begin with, and how it becomes text.
struct Magic {
  std::string_view bytes;
  const char* fact;
  const char* hint;
};
using namespace std::string_view_literals;
constexpr std::array kMagics = {
    Magic{"\xFF\xFE\0\0"sv, "UTF-32 text", "iconv -f UTF-32 -t UTF-8 FILE > NEW converts it"},
    Magic{"\0\0\xFE\xFF"sv, "UTF-32 text", "iconv -f UTF-32 -t UTF-8 FILE > NEW converts it"},
    Magic{"\xFF\xFE"sv, "UTF-16 text", "iconv -f UTF-16 -t UTF-8 FILE > NEW converts it"},
    Magic{"\xFE\xFF"sv, "UTF-16 text", "iconv -f UTF-16 -t UTF-8 FILE > NEW converts it"},
    Magic{"\x1F\x8B"sv, "a file that gzip compressed", "gunzip it"},
    Magic{"PK\x03\x04"sv, "a ZIP archive", "unzip it"},
    Magic{"PAR1"sv, "a Parquet file", "write it as JSON Lines: datasets' to_json() does"},
};

/// Whether every other one of the first bytes is NUL.
bool is_bare_utf16(std::string_view content, size_t first) {
  size_t count = 0, nul = 0;
  for (size_t i = first; i < std::min<size_t>(content.size(), 64); i += 2) {
    ++count;
    nul += content[i] == '\0' ? 1 : 0;
  }
  return count > 0 && nul * 10 >= count * 9;
}

}  // namespace

CodePoint decode_code_point(std::string_view text) {
  const auto lead = static_cast<uint8_t>(text[0]);
  if (lead < 0x80) return {lead, 1};
  const uint8_t size = lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0;
  if (size == 0 || text.size() < size) return {0, 0};
  char32_t value = lead & (0x7FU >> size);
  for (size_t i = 1; i < size; ++i) {
    if (!is_continuation(text[i])) return {0, 0};
    value = (value << 6) | (static_cast<uint8_t>(text[i]) & 0x3FU);
  }
  const bool overlong = (size == 3 && value < 0x800) || (size == 4 && value < 0x10000);
  const bool surrogate = value >= 0xD800 && value < 0xE000;
  if (overlong || surrogate || value > 0x10FFFF) return {0, 0};
  return {value, size};
}

size_t encode_code_point(char32_t value, char* out) {
  const auto tail = [value](int shift) {
    return static_cast<char>(0x80 | ((value >> shift) & 63));
  };
  if (value < 0x80) {
    out[0] = static_cast<char>(value);
    return 1;
  }
  if (value < 0x800) {
    out[0] = static_cast<char>(0xC0 | (value >> 6));
    out[1] = tail(0);
    return 2;
  }
  if (value < 0x10000) {
    out[0] = static_cast<char>(0xE0 | (value >> 12));
    out[1] = tail(6);
    out[2] = tail(0);
    return 3;
  }
  out[0] = static_cast<char>(0xF0 | (value >> 18));
  out[1] = tail(12);
  out[2] = tail(6);
  out[3] = tail(0);
  return 4;
}

size_t find_invalid_utf8(std::string_view text) {
  size_t byte = 0;
  while (byte < text.size()) {
    if (text.size() - byte >= 8 && eight_ascii(text.data() + byte)) {
      byte += 8;
      continue;
    }
    const CodePoint code_point = decode_code_point(text.substr(byte, 4));
    if (code_point.size == 0) return byte;
    byte += code_point.size;
  }
  return std::string_view::npos;
}

int64_t code_point_count(std::string_view text) {
  size_t byte = 0;
  return skip(text, byte, INT64_MAX);
}

size_t byte_index(std::string_view text, int64_t index) {
  size_t byte = 0;
  const int64_t found = index < 0 ? 0 : skip(text, byte, index);
  LIGHTNING_CHECK(found == index, DataError, "text: code point ", index,
                  " was requested, expected 0 to ", code_point_count(text), ".");
  return byte;
}

std::string_view substr_code_points(std::string_view text, int64_t begin, int64_t end) {
  LIGHTNING_CHECK(begin <= end, DataError, "text: code points [", begin, ", ", end,
                  ") were requested, expected begin <= end.");
  const size_t first = byte_index(text, begin);
  const std::string_view rest = text.substr(first);
  size_t size = 0;
  const int64_t found = skip(rest, size, end - begin);
  LIGHTNING_CHECK(found == end - begin, DataError, "text: code points [", begin, ", ", end,
                  ") were requested, expected at most ", begin + found, ".");
  return rest.substr(0, size);
}

std::string shown_text(std::string_view text, size_t limit) {
  std::string result = "\"";
  for (size_t byte = 0, count = 0; byte < text.size(); ++count) {
    if (count == limit) {
      result += "...";
      break;
    }
    const CodePoint next = decode_code_point(text.substr(byte, 4));
    if (next.size == 0 || is_control(next.value)) {
      const size_t size = std::max<size_t>(next.size, 1);
      for (size_t i = 0; i < size; ++i) result += "\\x" + hex_byte(text[byte + i]);
      byte += size;
      continue;
    }
    result += text.substr(byte, next.size);
    byte += next.size;
  }
  return result + "\"";
}

int64_t line_at(std::string_view text, size_t byte) {
  return 1 + std::count(text.begin(), text.begin() + std::min(byte, text.size()), '\n');
}

void check_not_lfs_pointer(std::string_view content, std::string_view file) {
  LIGHTNING_CHECK(
      !content.starts_with("version https://git-lfs.github.com/spec/v1"), DataError, file,
      ": is a pointer of Git LFS, which stands for the real file, expected its content. "
      "HINT: git lfs pull in the folder fetches it.");
}

void check_is_text(std::string_view content, std::string_view file) {
  check_not_lfs_pointer(content, file);
  for (const Magic& magic : kMagics) {
    LIGHTNING_CHECK(!content.starts_with(magic.bytes), DataError, file,
                    ": the bytes from 0 on (line 1) are those of ", magic.fact,
                    ", expected UTF-8 text. HINT: ", magic.hint, ".");
  }
  for (const size_t first : {0, 1}) {
    LIGHTNING_CHECK(!is_bare_utf16(content, first), DataError, file, ": byte ", first,
                    " and every other one are NUL, as in UTF-16 without a byte order mark, "
                    "expected UTF-8. HINT: iconv -f UTF-16",
                    first == 0 ? "BE" : "LE", " -t UTF-8 FILE > NEW converts it.");
  }
}

size_t check_text_encoding(std::string_view content, std::string_view file) {
  check_is_text(content, file);
  const size_t nul = content.find('\0');
  LIGHTNING_CHECK(nul == std::string_view::npos, DataError, file, ": byte ", nul, " in line ",
                  line_at(content, nul),
                  " is NUL, expected UTF-8 text, which has none. HINT: the file is damaged or not "
                  "a text.");
  const size_t invalid = find_invalid_utf8(content);
  if (invalid == std::string_view::npos) return content.starts_with("\xEF\xBB\xBF") ? 3 : 0;
  const bool cut = content.size() - invalid < 4 &&
                   std::all_of(content.begin() + static_cast<std::ptrdiff_t>(invalid) + 1,
                               content.end(), is_continuation) &&
                   static_cast<uint8_t>(content[invalid]) >= 0xC2;
  throw lightning::DataError(lightning::detail::concat(
      file, ": byte ", invalid, " (0x", hex_byte(content[invalid]), ") in line ",
      line_at(content, invalid), " is not valid UTF-8",
      cut ? ", the file ends within a character, expected a whole file. HINT: copy it again."
          : ", expected UTF-8. HINT: if it is Latin-1, iconv -f LATIN1 -t UTF-8 FILE > NEW "
            "converts it."));
}

void check_is_no_folder(const std::filesystem::path& path, std::string_view name) {
  std::error_code ignored;
  if (!std::filesystem::is_directory(path, ignored)) return;
  throw lightning::DataError(lightning::detail::concat(
      name, " ", path.string(), " is a folder, expected a file. HINT: give a file in it."));
}

std::string read_text_file(const std::filesystem::path& path) {
  std::string content = lightning::read_file(path);
  content.erase(0, check_text_encoding(content, path.string()));
  return content;
}

void throw_invalid_utf8(std::string_view text, size_t position) {
  throw lightning::DataError(lightning::detail::concat(
      "text: byte ", position, " (0x", hex_byte(text[position]),
      ") is not valid UTF-8, expected UTF-8 text. HINT: convert the text to UTF-8."));
}

}  // namespace bert_squad
