#include "word_encoder.h"

#include <algorithm>

#include "utf8.h"

namespace bert_squad {

WordEncoder::WordEncoder(const WordPieceTables& tables, std::string_view text)
    : tables_(tables), text_(text) {}

Encoding WordEncoder::run() {
  // English has about one token for five bytes; growing once more is cheap.
  result_.ids.reserve(text_.size() / 4 + 8);
  result_.offsets.reserve(text_.size() / 4 + 8);
  for (size_t from = 0; byte_ < text_.size();) {
    const AddedTokenFinder::Match match = tables_.added.find(text_, from, byte_);
    if (tables_.added_normalized.empty()) {
      run_segment(match.begin);
    } else {
      run_normalized_segment(match.begin);
    }
    if (match.pattern == nullptr) break;
    const auto count = [this](size_t begin, size_t end) {
      return begin < end ? static_cast<int32_t>(code_point_count(text_.substr(begin, end - begin)))
                         : 0;
    };
    const int32_t end = code_point_ + count(byte_, match.end) - count(match.end, byte_);
    result_.ids.push_back(match.pattern->id);
    result_.offsets.push_back({code_point_ - count(match.begin, byte_), end});
    byte_ = match.end;
    code_point_ = end;
    from = match.next;
  }
  return std::move(result_);
}

std::string WordEncoder::normalized() && {
  collect_normalized(text_.size());
  return std::move(normal_);
}

void WordEncoder::collect_normalized(size_t end) {
  collects_ = true;
  while (byte_ < end) general_code_point();
  flush_pending();
  collects_ = false;
}

void WordEncoder::run_normalized_segment(size_t end) {
  collect_normalized(end);
  size_t at = 0;
  for (size_t from = 0; at < normal_.size();) {
    const AddedTokenFinder::Match match = tables_.added_normalized.find(normal_, from, at);
    while (at < match.begin) {
      const size_t size = decode_code_point(std::string_view(normal_).substr(at, 4)).size;
      emit(normal_.data() + at, size, normal_origins_[at], normal_kinds_[at]);
      at += size;
    }
    end_word();
    if (match.pattern == nullptr) break;
    result_.ids.push_back(match.pattern->id);
    result_.offsets.push_back({normal_origins_[match.begin], normal_origins_[match.end - 1] + 1});
    at = match.end;
    from = match.next;
  }
  normal_.clear();
  normal_origins_.clear();
  normal_kinds_.clear();
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
  if (size > static_cast<size_t>(tables_.options.max_input_chars_per_word)) {
    result_.ids.push_back(tables_.unk);
    result_.offsets.push_back({first, first + static_cast<int32_t>(size)});
  } else {
    scratch_.resize(size);
    for (size_t i = 0; i < size; ++i) {
      scratch_[i] = tables_.ascii[static_cast<uint8_t>(text_[byte_ + i])].lower;
    }
    add_pieces(scratch_, [first](size_t begin, size_t end_of_piece) {
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
    emit_action(action, code_point.size);
  }
  byte_ += code_point.size;
  ++code_point_;
  return word_.empty() && pending_.empty();
}

void WordEncoder::emit_action(uint16_t action, size_t size) {
  if (action >= CharActions::kNumPlain) {
    for (const NormalizedChar& part : tables_.actions.replacement(action)) {
      emit(part.bytes.data(), part.size, code_point_, part.kind);
    }
    return;
  }
  const bool spaced = action == CharActions::kSpaced;
  if (spaced || action == CharActions::kSpace) emit(" ", 1, code_point_, Kind::kSpace);
  if (action == CharActions::kSpace) return;
  const bool isolated = spaced || action == CharActions::kIsolate;
  emit(text_.data() + byte_, size, code_point_, isolated ? Kind::kIsolated : Kind::kLetter);
  if (spaced) emit(" ", 1, code_point_, Kind::kSpace);
}

void WordEncoder::emit(const char* bytes, size_t size, int32_t origin, Kind kind) {
  if (collects_) {
    normal_.append(bytes, size);
    normal_origins_.insert(normal_origins_.end(), size, origin);
    normal_kinds_.insert(normal_kinds_.end(), size, kind);
    return;
  }
  if (kind != Kind::kLetter) end_word();
  if (kind != Kind::kSpace) add_letter(bytes, size, origin);
  if (kind == Kind::kIsolated) end_word();
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
    emit(bytes, encode_code_point(parts[i].value, bytes), code_point_, Kind::kLetter);
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
    emit(bytes, size, used > 0 ? origins[used - 1] : pending.origin, Kind::kLetter);
  }
  pending_.clear();
}

void WordEncoder::end_word() {
  if (word_.empty()) return;
  const auto offset = [this](size_t begin, size_t end) {
    return Offset{origins_[begin], origins_[end - 1] + 1};
  };
  if (word_chars_ > static_cast<size_t>(tables_.options.max_input_chars_per_word)) {
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
