// UTF-8 text seen as code points. SQuAD's answer_start and the tokenizer's offsets count code
// points, not bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace bert_squad {

/// One decoded code point; `size` is its length in bytes (1 to 4), 0 when the bytes are invalid.
struct CodePoint {
  char32_t value;
  uint8_t size;
};

/// Reads the code point that begins at `text[0]`; `text` must not be empty. Overlong forms,
/// surrogates, values above U+10FFFF and cut-off sequences are invalid. Never throws.
CodePoint decode_code_point(std::string_view text);

/// Writes `value` to `out` (room for 4 bytes) and returns the number of bytes. `value` must be a
/// Unicode scalar value.
size_t encode_code_point(char32_t value, char* out);

/// Byte position of the first invalid sequence, or npos when all of `text` is valid UTF-8.
size_t find_invalid_utf8(std::string_view text);

/// Number of code points.
/// Throws: DataError with the byte position if `text` is not valid UTF-8.
int64_t code_point_count(std::string_view text);

/// Byte index of the code point number `index`; an index equal to the count gives text.size().
/// Throws: DataError if `text` is invalid UTF-8 before it, or `index` is out of range.
size_t byte_index(std::string_view text, int64_t index);

/// The code points [begin, end) as a view into `text`.
/// Throws: DataError if `text` is invalid UTF-8, or the range does not lie in it.
std::string_view substr_code_points(std::string_view text, int64_t begin, int64_t end);

/// `text` in quotation marks for a message: control characters and bytes that aren't UTF-8 as \x1f,
/// cut with "..." after `limit` code points.
std::string shown_text(std::string_view text, size_t limit = 80);

/// Number of the line that holds a byte, from 1.
int64_t line_at(std::string_view text, size_t byte);

/// Throws DataError when a file begins as the pointers do that a clone without Git LFS has.
void check_not_lfs_pointer(std::string_view content, std::string_view file);

/// Throws DataError when a file begins as no UTF-8 text does: UTF-16 or UTF-32, a compressed file,
/// a pointer of Git LFS.
void check_is_text(std::string_view content, std::string_view file);

/// Checks what was read from a text file. Throws DataError with file, byte and line when it isn't
/// UTF-8: another encoding, an incomplete character, a NUL, a compressed file.
/// Returns where the text begins: after a byte order mark.
size_t check_text_encoding(std::string_view content, std::string_view file);

/// Throws DataError where a folder was given as the file that `name` (an option, say) is.
void check_is_no_folder(const std::filesystem::path& path, std::string_view name);

/// A text file that check_text_encoding() takes, without its byte order mark.
std::string read_text_file(const std::filesystem::path& path);

/// Throws the DataError of invalid UTF-8 at byte `position` of `text`.
[[noreturn]] void throw_invalid_utf8(std::string_view text, size_t position);

}  // namespace bert_squad
