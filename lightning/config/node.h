/// ConfigNode: configuration as it was written (YAML or command line), with the place each part came
/// from, so that an error can name file and line. Independent of any YAML library.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <lightning/util/export.h>

namespace lightning::config {

/// Where a node was written: "file.yaml:14" or "command line (--trainer.max_epochs)".
struct Source {
  std::string origin;
  int line = 0;  // 1-based; 0 when lines mean nothing there
  std::string to_string() const;
};

class LIGHTNING_API ConfigNode {
 public:
  enum class Kind { kNull, kScalar, kList, kMap };
  using MapEntry = std::pair<std::string, ConfigNode>;

  ConfigNode() = default;  // null
  static ConfigNode scalar(std::string text, Source source = {});
  static ConfigNode list(std::vector<ConfigNode> items = {}, Source source = {});
  static ConfigNode map(std::vector<MapEntry> entries = {}, Source source = {});

  Kind kind() const { return kind_; }
  bool is_null() const { return kind_ == Kind::kNull; }
  const Source& source() const { return source_; }
  const std::string& text() const { return text_; }
  const std::vector<ConfigNode>& items() const { return items_; }
  const std::vector<MapEntry>& entries() const { return entries_; }
  std::vector<ConfigNode>& items() { return items_; }
  std::vector<MapEntry>& entries() { return entries_; }

  /// A string scalar that YAML would read as another type ("true", "12", ...) was quoted.
  bool quoted() const { return quoted_; }
  void set_quoted(bool quoted) { quoted_ = quoted; }
  /// A comment line to be written above this node.
  const std::string& comment() const { return comment_; }
  void set_comment(std::string comment) { comment_ = std::move(comment); }

  /// The entry of a map, or nullptr.
  const ConfigNode* find(std::string_view key) const;
  ConfigNode* find(std::string_view key);
  /// The node at a dotted path ("trainer.max_epochs"), or nullptr.
  const ConfigNode* find_path(std::string_view dotted) const;
  /// Sets (creating maps on the way) the node at a dotted path; a ConfigError when a part of the
  /// path is there and is no map.
  void set_path(std::string_view dotted, ConfigNode value);
  void set(std::string_view key, ConfigNode value);
  /// Removes and returns the entry of a map (null when it isn't there).
  ConfigNode take(std::string_view key);

  /// Lays `over` on this node: maps are merged key by key, anything else is replaced.
  void merge(const ConfigNode& over);

 private:
  Kind kind_ = Kind::kNull;
  Source source_;
  std::string text_;
  bool quoted_ = false;
  std::string comment_;
  std::vector<ConfigNode> items_;
  std::vector<MapEntry> entries_;
};

}  // namespace lightning::config
