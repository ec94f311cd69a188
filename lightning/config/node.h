/// ConfigNode: configuration as it was written (YAML or command line), with the place each part
/// came from, so that an error can name file and line. Independent of any YAML library.
///
/// A dotted path names a node: "trainer.max_epochs"; a number in it is the place in a list:
/// "trainer.callbacks.0.init_args.patience".
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <lightning/util/export.h>

namespace lightning::config {

/// Where a node was written: "file.yaml:14" or "command line (--trainer.max_epochs)".
struct LIGHTNING_API Source {
  std::string origin;
  int line = 0;  // 1-based; 0 when lines mean nothing there
  /// What error messages begin with; "config" when the place is unknown.
  std::string to_string() const;
};

class LIGHTNING_API ConfigNode {
 public:
  enum class Kind { kNull, kScalar, kList, kMap };
  /// Maps and lists within each other; what is deeper is refused by parse_yaml() and set_path().
  static constexpr size_t kDeepest = 200;
  using MapEntry = std::pair<std::string, ConfigNode>;

  ConfigNode() = default;  // null
  static ConfigNode null(Source source);
  static ConfigNode scalar(std::string text, Source source = {});
  static ConfigNode list(std::vector<ConfigNode> items = {}, Source source = {});
  static ConfigNode map(std::vector<MapEntry> entries = {}, Source source = {});

  Kind kind() const { return kind_; }
  bool is_null() const { return kind_ == Kind::kNull; }
  // Accessors of temporaries return by value: in `for (auto& entry : node().entries())` the
  // node is gone before the loop begins.
  const Source& source() const& { return source_; }
  Source source() && { return std::move(source_); }
  void set_source(Source source) { source_ = std::move(source); }
  const std::string& text() const& { return text_; }
  std::string text() && { return std::move(text_); }
  const std::vector<ConfigNode>& items() const& { return items_; }
  std::vector<ConfigNode>& items() & { return items_; }
  std::vector<ConfigNode> items() && { return std::move(items_); }
  const std::vector<MapEntry>& entries() const& { return entries_; }
  std::vector<MapEntry>& entries() & { return entries_; }
  std::vector<MapEntry> entries() && { return std::move(entries_); }

  /// The scalar is a string whatever it looks like ("true", "12"): it was or will be quoted.
  bool quoted() const { return quoted_; }
  void set_quoted(bool quoted) { quoted_ = quoted; }
  /// A comment line to be written above this node.
  const std::string& comment() const& { return comment_; }
  std::string comment() && { return std::move(comment_); }
  void set_comment(std::string comment) { comment_ = std::move(comment); }

  /// The entry of a map, or nullptr.
  const ConfigNode* find(std::string_view key) const;
  ConfigNode* find(std::string_view key);
  /// The node at a dotted path ("trainer.max_epochs"), or nullptr.
  const ConfigNode* find_path(std::string_view dotted) const;
  /// Sets the node at a dotted path, creating maps on the way. Throws ConfigError when a part of
  /// the path is there and is neither a map nor a list that has this index, and when the path is
  /// more than kDeepest parts long. A class given by its name alone becomes {class_path: NAME}
  /// where the path leads to its class_path or init_args.
  void set_path(std::string_view dotted, ConfigNode value);
  /// Adds or replaces the entry of a map (a null node becomes a map).
  void set(std::string_view key, ConfigNode value);
  /// Removes and returns the entry of a map (null when it isn't there).
  ConfigNode take(std::string_view key);

  /// Lays `over` on this node: maps are merged key by key, anything else is replaced; so is a map
  /// whose class_path changes, because the arguments of the old class mean nothing to the new one.
  /// A name alone is the class_path of that name.
  void merge(const ConfigNode& over);

  /// Same content; sources and comments don't count.
  bool operator==(const ConfigNode& other) const;

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
