// A set of byte strings with ids, for the longest-match search of WordPiece.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace bert_squad {

/// A double-array trie: one array read per byte, no hashing, no allocation when searching.
class VocabTrie {
 public:
  /// Node from which to search; kNoNode matches nothing.
  using Node = uint32_t;
  static constexpr Node kRoot = 0;
  static constexpr Node kNoNode = UINT32_MAX;

  struct Match {
    int32_t id = -1;  // -1: nothing matches
    size_t size = 0;  // bytes
  };

  VocabTrie() = default;
  /// The id of a string is its index. Strings must be distinct.
  explicit VocabTrie(const std::vector<std::string>& strings);

  /// Node reached from `node` by all of `text`, or kNoNode.
  Node walk(Node node, std::string_view text) const;
  /// Id of the string that ends at `node`, or -1.
  int32_t id(Node node) const { return node == kNoNode ? -1 : cells_[node].id; }
  /// Longest string below `node` (at least one byte) that `text` begins with.
  Match longest(Node node, std::string_view text) const {
    Match best;
    if (node == kNoNode) return best;
    for (size_t i = 0; i < text.size();) {
      node = step(node, text[i]);
      if (node == kNoNode) break;
      ++i;
      if (cells_[node].id >= 0) best = {cells_[node].id, i};
    }
    return best;
  }

 private:
  struct Cell {
    uint32_t base = 0;          // children are at base + byte
    uint32_t parent = kNoNode;  // kNoNode: the cell is free
    int32_t id = -1;
  };
  class Builder;

  Node step(Node node, char byte) const {
    const uint32_t child = cells_[node].base + static_cast<uint8_t>(byte);
    return cells_[child].parent == node ? child : kNoNode;
  }

  // Always 256 cells longer than the last used base, so that step() needs no bounds check.
  std::vector<Cell> cells_ = std::vector<Cell>(256);
};

}  // namespace bert_squad
