#include "word_encoder.h"

#include <algorithm>
#include <cstring>

#include "utf8.h"

namespace bert_squad {
namespace {

constexpr size_t kMaxWordChars = 100;  // longer words are unknown, as in the pinned package

}  // namespace

WordEncoder::WordEncoder(const WordPieceTables& tables, std::string_view text)
    : tables_(tables), text_(text) {
  for (const SpecialToken& special : tables.specials) {
    next_special_.push_back(std::min(text.find(special.text), text.size()));
  }
  // English has about one token for five bytes; growing once more is cheap.
  result_.ids.reserve(text.size() / 4 + 8);
  result_.offsets.reserve(text.size() / 4 + 8);
}

Encoding WordEncoder::run() {
  while (byte_ < text_.size()) {
    const size_t end = find_special(byte_);
    run_segment(end);
    if (special_ == nullptr) continue;
    const auto size = static_cast<int32_t>(code_point_count(special_->text));
    result_.ids.push_back(special_->id);
    result_.offsets.push_back({code_point_, code_point_ + size});
    byte_ += special_->text.size();
    code_point_ += size;
  }
  return std::move(result_);
}

size_t WordEncoder::find_special(size_t from) {
  special_ = nullptr;
  size_t found = text_.size();
  for (size_t i = 0; i < next_special_.size(); ++i) {
    const SpecialToken& special = tables_.specials[i];
    // Each search continues where the last one ended, so that all of them together read a text
    // once.
    if (next_special_[i] < from)
      next_special_[i] = std::min(text_.find(special.text, from), text_.size());
    if (next_special_[i] < found) {  // the first wins, and of several there the longest
      found = next_special_[i];
      special_ = &special;
    }
  }
  return found;
}

void WordEncoder::run_segment(size_t end) {
  while (byte_ < end) {
    const AsciiChar& ascii = tables_.ascii[static_cast<uint8_t>(text_[byte_])];
    switch (ascii.kind) {
      case AsciiKind::kIsolated:
        result_.ids.push_back(ascii.id);
        result_.offsets.push_back({code_point_, code_point_ + 1});
        [[fallthrough]];
      case AsciiKind::kSpace:
        ++byte_;
        ++code_point_;
        break;
      case AsciiKind::kLetter:
        if (ascii_word(end)) break;
        [[fallthrough]];
      case AsciiKind::kOther:
        general_word(end);
    }
  }
}

bool WordEncoder::ascii_word(size_t end) {
  const auto kind = [this](size_t byte) {
    return tables_.ascii[static_cast<uint8_t>(text_[byte])].kind;
  };
  size_t stop = byte_;
  while (stop < end && kind(stop) == AsciiKind::kLetter) ++stop;
  if (stop < end && kind(stop) == AsciiKind::kOther) return false;
  const size_t size = stop - byte_;
  const auto first = code_point_;
  if (size > kMaxWordChars) {
    result_.ids.push_back(tables_.unk);
    result_.offsets.push_back({first, first + static_cast<int32_t>(size)});
  } else {
    char word[kMaxWordChars];
    for (size_t i = 0; i < size; ++i) {
      word[i] = tables_.ascii[static_cast<uint8_t>(text_[byte_ + i])].lower;
    }
    add_pieces({word, size}, [first](size_t begin, size_t end_of_piece) {
      return Offset{first + static_cast<int32_t>(begin),
                    first + static_cast<int32_t>(end_of_piece)};
    });
  }
  byte_ += size;
  code_point_ += static_cast<int32_t>(size);
  return true;
}

template <typename OffsetOf>
void WordEncoder::add_pieces(std::string_view word, OffsetOf offset) {
  const size_t old_size = result_.ids.size();
  VocabTrie::Node from = VocabTrie::kRoot;
  for (size_t begin = 0; begin < word.size();) {
    const VocabTrie::Match match = tables_.trie.longest(from, word.substr(begin));
    if (match.id < 0) {
      result_.ids.resize(old_size);
      result_.offsets.resize(old_size);
      result_.ids.push_back(tables_.unk);
      result_.offsets.push_back(offset(0, word.size()));
      return;
    }
    result_.ids.push_back(match.id);
    result_.offsets.push_back(offset(begin, begin + match.size));
    begin += match.size;
    from = tables_.continuation;
  }
}

void WordEncoder::general_word(size_t end) {
  while (byte_ < end && !general_code_point()) {
  }
  flush_pending();
  end_word();
}

bool WordEncoder::general_code_point() {
  const CodePoint code_point = decode_code_point(text_.substr(byte_, 4));
  if (code_point.size == 0) throw_invalid_utf8(text_, byte_);
  const uint16_t action = tables_.actions.action(code_point.value);
  if (action == CharActions::kReorder) {
    add_reordered(code_point.value);
  } else if (action != CharActions::kDrop) {
    flush_pending();
    if (action >= CharActions::kNumPlain) {
      for (const NormalizedChar& part : tables_.actions.replacement(action)) add(part);
    } else {
      if (action != CharActions::kKeep) end_word();
      if (action != CharActions::kSpace) {
        add_letter(text_.data() + byte_, code_point.size, code_point_);
      }
      if (action == CharActions::kIsolate) end_word();
    }
  }
  byte_ += code_point.size;
  ++code_point_;
  return word_.empty() && pending_.empty();
}

void WordEncoder::add(const NormalizedChar& part) {
  if (part.kind != NormalizedChar::Kind::kLetter) end_word();
  if (part.kind != NormalizedChar::Kind::kSpace) {
    add_letter(part.bytes.data(), part.size, code_point_);
  }
  if (part.kind == NormalizedChar::Kind::kIsolated) end_word();
}

void WordEncoder::add_letter(const char* bytes, size_t size, int32_t origin) {
  word_.append(bytes, size);
  origins_.insert(origins_.end(), size, origin);
  ++word_chars_;
}

void WordEncoder::add_reordered(char32_t code) {
  DecomposedChar parts[4];
  const size_t count = tables_.actions.decompose(code, parts);
  for (size_t i = 0; i < count; ++i) {
    if (parts[i].combining_rank > 0) {
      pending_.push_back({parts[i], code_point_, i == 0});
      continue;
    }
    flush_pending();
    if (parts[i].is_mark) continue;
    char bytes[4];
    add_letter(bytes, encode_code_point(parts[i].value, bytes), code_point_);
  }
}

// The pinned package hands out the origins of a run of combining characters in the order in which
// they were written, not in the one they are sorted into; a later part of a decomposition gets the
// origin last handed out.
void WordEncoder::flush_pending() {
  if (pending_.empty()) return;
  std::vector<int32_t> origins;
  for (const Pending& pending : pending_) {
    if (pending.is_first_part) origins.push_back(pending.origin);
  }
  std::stable_sort(pending_.begin(), pending_.end(), [](const Pending& a, const Pending& b) {
    return a.part.combining_rank < b.part.combining_rank;
  });
  size_t used = 0;
  for (const Pending& pending : pending_) {
    if (pending.is_first_part) ++used;
    if (pending.part.is_mark) continue;
    char bytes[4];
    const size_t size = encode_code_point(pending.part.value, bytes);
    add_letter(bytes, size, used > 0 ? origins[used - 1] : pending.origin);
  }
  pending_.clear();
}

void WordEncoder::end_word() {
  if (word_.empty()) return;
  const auto offset = [this](size_t begin, size_t end) {
    return Offset{origins_[begin], origins_[end - 1] + 1};
  };
  if (word_chars_ > kMaxWordChars) {
    result_.ids.push_back(tables_.unk);
    result_.offsets.push_back(offset(0, word_.size()));
  } else {
    add_pieces(word_, offset);
  }
  word_.clear();
  origins_.clear();
  word_chars_ = 0;
}

}  // namespace bert_squad
