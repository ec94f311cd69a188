#include "vocab_trie.h"

#include <algorithm>
#include <numeric>

namespace bert_squad {

// Places the children of one node after another, depth first. Strings are sorted, so the strings
// below a node are a range.
class VocabTrie::Builder {
 public:
  Builder(const std::vector<std::string>& strings, std::vector<Cell>& cells)
      : strings_(strings), cells_(cells), order_(strings.size()) {
    std::iota(order_.begin(), order_.end(), 0);
    std::sort(order_.begin(), order_.end(),
              [this](int32_t a, int32_t b) { return strings_[a] < strings_[b]; });
  }

  void build() {
    cells_[kRoot].parent = kRoot;
    std::vector<Range> todo = {{kRoot, 0, order_.size(), 0}};
    while (!todo.empty()) {
      const Range range = todo.back();
      todo.pop_back();
      place_children(range, todo);
    }
  }

 private:
  struct Range {
    Node node;
    size_t begin, end;  // of order_
    size_t depth;       // bytes read before the node
  };

  uint8_t byte_at(size_t i, size_t depth) const {
    return static_cast<uint8_t>(strings_[order_[i]][depth]);
  }

  void place_children(Range range, std::vector<Range>& todo) {
    if (range.begin < range.end && strings_[order_[range.begin]].size() == range.depth) {
      cells_[range.node].id = order_[range.begin];
      ++range.begin;
    }
    if (range.begin == range.end) return;
    std::vector<Range> children;
    std::vector<uint8_t> bytes;
    for (size_t i = range.begin; i < range.end; ++i) {
      if (bytes.empty() || byte_at(i, range.depth) != bytes.back()) {
        bytes.push_back(byte_at(i, range.depth));
        children.push_back({0, i, i, range.depth + 1});
      }
      children.back().end = i + 1;
    }
    const uint32_t base = find_base(bytes);
    cells_[range.node].base = base;
    for (size_t i = 0; i < bytes.size(); ++i) {
      children[i].node = base + bytes[i];
      cells_[children[i].node].parent = range.node;
    }
    todo.insert(todo.end(), children.rbegin(), children.rend());
  }

  // First base whose cells for all of `bytes` are free.
  uint32_t find_base(const std::vector<uint8_t>& bytes) {
    // A single child fits into any hole. For several, few holes far behind the end will do, and
    // passing over those keeps the whole build linear.
    constexpr size_t kWindow = 4096;
    const size_t used = cells_.size() - 256;
    size_t cell = bytes.size() == 1 || used < kWindow ? 0 : used - kWindow;
    for (cell = next_free(std::max<size_t>(cell, bytes[0] + 1));; cell = next_free(cell + 1)) {
      const size_t base = cell - bytes[0];
      if (base + 512 > cells_.size()) cells_.resize(base + 512);
      if (std::all_of(bytes.begin(), bytes.end(),
                      [&](uint8_t byte) { return cells_[base + byte].parent == kNoNode; })) {
        return static_cast<uint32_t>(base);
      }
    }
  }

  // First free cell at or after `cell`. Every taken cell points to a later one; the way there is
  // shortened each time it is walked.
  size_t next_free(size_t cell) {
    size_t end = cell;
    while (end < cells_.size() && cells_[end].parent != kNoNode) end = later(end);
    while (cell < end) {
      const size_t next = later(cell);
      later_[cell] = static_cast<uint32_t>(end);
      cell = next;
    }
    return end;
  }

  size_t later(size_t cell) {
    while (later_.size() <= cell) later_.push_back(static_cast<uint32_t>(later_.size() + 1));
    return later_[cell];
  }

  const std::vector<std::string>& strings_;
  std::vector<Cell>& cells_;
  std::vector<int32_t> order_;
  std::vector<uint32_t> later_;
};

VocabTrie::VocabTrie(const std::vector<std::string>& strings) {
  Builder(strings, cells_).build();
  cells_.shrink_to_fit();
}

VocabTrie::Node VocabTrie::walk(Node node, std::string_view text) const {
  for (const char byte : text) {
    if (node == kNoNode) break;
    node = step(node, byte);
  }
  return node;
}

}  // namespace bert_squad
