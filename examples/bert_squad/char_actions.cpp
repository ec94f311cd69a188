#include "char_actions.h"

#include <algorithm>
#include <map>

#include "unicode_tables.h"
#include "utf8.h"

namespace bert_squad {
namespace {

constexpr char32_t kHangulFirst = 0xAC00;
constexpr char32_t kHangulCount = 11172;

const CharRange& range_of(char32_t code) {
  const auto ranges = char_ranges();
  const auto next = std::upper_bound(ranges.begin(), ranges.end(), code,
                                     [](char32_t c, const CharRange& r) { return c < r.first; });
  return *(next - 1);
}

// The row of `code` in a table sorted by code point, or nullptr.
template <typename Row>
const Row* find_row(std::span<const Row> rows, char32_t code) {
  const auto row = std::lower_bound(rows.begin(), rows.end(), code,
                                    [](const Row& r, char32_t c) { return r.code < c; });
  return row != rows.end() && row->code == code ? &*row : nullptr;
}

// Writes the canonical decomposition to `out` and returns its length.
size_t decompose_code(char32_t code, char32_t* out) {
  if (code - kHangulFirst < kHangulCount) {
    const char32_t index = code - kHangulFirst;
    out[0] = 0x1100 + index / 588;
    out[1] = 0x1161 + index % 588 / 28;
    out[2] = 0x11A7 + index % 28;
    return index % 28 == 0 ? 2 : 3;
  }
  const auto* row = find_row(char_decompositions(), code);
  if (row == nullptr) {
    out[0] = code;
    return 1;
  }
  size_t size = 0;
  while (size < 4 && row->parts[size] != 0) {
    out[size] = row->parts[size];
    ++size;
  }
  return size;
}

// True when a table has a row for one of the 256 code points from `first`.
template <typename Row>
bool has_row(std::span<const Row> rows, char32_t first) {
  const auto row = std::lower_bound(rows.begin(), rows.end(), first,
                                    [](const Row& r, char32_t c) { return r.code < c; });
  return row != rows.end() && row->code < first + 256;
}

// True when the 256 code points from `first` all map to themselves and share their properties.
bool is_uniform(char32_t first) {
  const bool hangul = first + 255 >= kHangulFirst && first < kHangulFirst + kHangulCount;
  return !hangul && &range_of(first) == &range_of(first + 255) &&
         !has_row(char_decompositions(), first) && !has_row(char_lowercases(), first);
}

NormalizedChar normalized_char(char32_t code, NormalizedChar::Kind kind) {
  NormalizedChar result{{}, 0, kind};
  result.size = static_cast<uint8_t>(encode_code_point(code, result.bytes.data()));
  return result;
}

}  // namespace

CharActions::CharActions(bool lowercase, bool strip_accents, bool isolate_chinese)
    : lowercase_(lowercase), strip_accents_(strip_accents), isolate_chinese_(isolate_chinese) {
  fill_blocks();
}

void CharActions::fill_blocks() {
  std::map<Block, uint16_t> known;  // most pages are alike: unassigned, ideographs, private use
  for (char32_t page = 0; page < block_.size(); ++page) {
    const char32_t first = page << 8;
    Block block{};
    if (is_uniform(first)) {
      block.fill(make_action(first, range_of(first).flags));
    } else {
      for (char32_t i = 0; i < 256; ++i) {
        block[i] = make_action(first + i, range_of(first + i).flags);
      }
    }
    const auto [entry, is_new] = known.try_emplace(block, static_cast<uint16_t>(blocks_.size()));
    if (is_new) blocks_.push_back(block);
    block_[page] = entry->second;
  }
}

uint16_t CharActions::make_action(char32_t code, uint8_t flags) {
  if (flags & kCharDropped) return kDrop;
  if (flags & kCharSpace) return kSpace;
  const bool chinese = isolate_chinese_ && (flags & kCharChinese);

  std::vector<NormalizedChar> result;
  if (chinese) result.push_back(normalized_char(' ', NormalizedChar::Kind::kSpace));
  if (strip_accents_) {
    DecomposedChar parts[4];
    const size_t count = decompose(code, parts);
    for (size_t i = 0; i < count; ++i) {
      const bool moves = parts[i].combining_rank > 0;
      // Marks behind a starter vanish wherever they are sorted to; other ones take part.
      if (moves && (i == 0 || !parts[i].is_mark)) return kReorder;
      if (!parts[i].is_mark) add_normalized(parts[i].value, result);
    }
  } else {
    add_normalized(code, result);
  }
  if (chinese) result.push_back(normalized_char(' ', NormalizedChar::Kind::kSpace));

  const auto is_self = [code](const NormalizedChar& part) {
    return decode_code_point({part.bytes.data(), part.size}).value == code;
  };
  if (chinese && result.size() == 3 && is_self(result[1])) return kSpaced;
  if (result.size() == 1 && is_self(result[0])) {
    return result[0].kind == NormalizedChar::Kind::kLetter ? kKeep : kIsolate;
  }
  replaced_.insert(replaced_.end(), result.begin(), result.end());
  replaced_begin_.push_back(static_cast<uint32_t>(replaced_.size()));
  return static_cast<uint16_t>(kNumPlain + replaced_begin_.size() - 2);
}

void CharActions::add_normalized(char32_t code, std::vector<NormalizedChar>& out) const {
  const auto* lower = lowercase_ ? find_row(char_lowercases(), code) : nullptr;
  for (size_t i = 0; i < 2; ++i) {
    const char32_t part = lower != nullptr ? lower->parts[i] : i == 0 ? code : 0;
    if (i > 0 && part == 0) break;
    const bool punctuation = range_of(part).flags & kCharPunctuation;
    out.push_back(normalized_char(
        part, punctuation ? NormalizedChar::Kind::kIsolated : NormalizedChar::Kind::kLetter));
  }
}

std::span<const NormalizedChar> CharActions::replacement(uint16_t action) const {
  const size_t index = action - kNumPlain;
  return std::span(replaced_).subspan(replaced_begin_[index],
                                      replaced_begin_[index + 1] - replaced_begin_[index]);
}

size_t CharActions::decompose(char32_t code, DecomposedChar* out) const {
  char32_t parts[4];
  const size_t count = decompose_code(code, parts);
  for (size_t i = 0; i < count; ++i) {
    const CharRange& range = range_of(parts[i]);
    out[i] = {parts[i], range.combining_rank, (range.flags & kCharMark) != 0};
  }
  return count;
}

}  // namespace bert_squad
