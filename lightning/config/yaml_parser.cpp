#include <cerrno>
#include <cstring>
#include <exception>
#include <fstream>
#include <sstream>
#include <vector>

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <lightning/config/yaml.h>
#include <lightning/util/detail/disk.h>
#include <lightning/util/error.h>

namespace lightning::config {
namespace {

/// Builds nodes from the parser's events: unlike yaml-cpp's own nodes, these show duplicate keys,
/// quotes and the line of each key.
class NodeBuilder : public YAML::EventHandler {
 public:
  explicit NodeBuilder(std::string_view origin) : origin_(origin) {}

  ConfigNode take_root() { return std::move(root_); }
  /// The document is over; another one is an error.
  void forbid_content() { forbidden_ = true; }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnAnchor(const YAML::Mark& mark, const std::string& name) override {
    fail(mark, "anchor \"&" + name + "\" found, anchors and aliases are not supported",
         "write the values out where they are used");
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    fail(mark, "alias found, anchors and aliases are not supported",
         "write the values out where they are used");
  }
  void OnNull(const YAML::Mark& mark, YAML::anchor_t) override {
    if (expects_key()) fail(mark, "the key is empty or null, expected text", "quote the key");
    add(mark, ConfigNode::null(source_at(mark)));
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                const std::string& value) override {
    check_tag(mark, tag);
    if (expects_key()) {
      begin_entry(mark, value);
      return;
    }
    ConfigNode node = ConfigNode::scalar(value, source_at(mark));
    node.set_quoted(tag == "!");
    add(mark, std::move(node));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {
    check_tag(mark, tag);
    if (expects_key()) fail(mark, "the key is a list, expected text", "quote the key");
    open(mark, ConfigNode::list({}, source_at(mark)));
  }
  void OnSequenceEnd() override { end_collection(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {
    check_tag(mark, tag);
    if (expects_key()) fail(mark, "the key is a map, expected text", "quote the key");
    open(mark, ConfigNode::map({}, source_at(mark)));
  }
  void OnMapEnd() override { end_collection(); }

  [[noreturn]] void fail(const YAML::Mark& mark, const std::string& fact,
                         const std::string& hint) const {
    throw ConfigError(detail::concat(origin_, ":", mark.line + 1, ":", mark.column + 1, ": ", fact,
                                     ". HINT: ", hint, "."));
  }

 private:
  /// A list or map whose end hasn't come yet.
  struct Open {
    ConfigNode node;
    std::string key;  // of the current entry
    Source key_source;
    bool has_key;
  };

  Source source_at(const YAML::Mark& mark) const { return {origin_, mark.line + 1}; }
  bool expects_key() const {
    return !stack_.empty() && stack_.back().node.kind() == ConfigNode::Kind::kMap &&
           !stack_.back().has_key;
  }
  void check_tag(const YAML::Mark& mark, const std::string& tag) const {
    if (forbidden_) fail_second_document(mark);
    if (tag.empty() || tag == "?" || tag == "!") return;
    fail(mark, "tag \"" + tag + "\" found, tags are not supported", "remove it");
  }
  [[noreturn]] void fail_second_document(const YAML::Mark& mark) const {
    fail(mark, "the document is over before this, expected nothing more",
         "check the indentation; a file holds one document");
  }
  void begin_entry(const YAML::Mark& mark, const std::string& key) {
    Open& map = stack_.back();
    if (map.node.find(key) != nullptr) {
      fail(mark, "key \"" + key + "\" appears twice in the same map", "remove one of the two");
    }
    map.key = key;
    map.key_source = source_at(mark);
    map.has_key = true;
  }
  void add(const YAML::Mark& mark, ConfigNode node) {
    if (forbidden_) fail_second_document(mark);
    if (stack_.empty()) {
      root_ = std::move(node);
      return;
    }
    Open& parent = stack_.back();
    if (parent.node.kind() == ConfigNode::Kind::kList) {
      parent.node.items().push_back(std::move(node));
      return;
    }
    // Errors point at the line of the key: a nested map begins only on the next one.
    node.set_source(parent.key_source);
    parent.node.entries().emplace_back(std::move(parent.key), std::move(node));
    parent.has_key = false;
  }
  void open(const YAML::Mark& mark, ConfigNode node) {
    if (stack_.size() >= ConfigNode::kDeepest) {
      fail(mark,
           detail::concat("maps and lists nest more than ", ConfigNode::kDeepest, " levels deep"),
           "check the indentation");
    }
    stack_.push_back({std::move(node), {}, {}, false});
  }
  void end_collection() {
    ConfigNode node = std::move(stack_.back().node);
    stack_.pop_back();
    add({}, std::move(node));
  }

  std::string origin_;
  ConfigNode root_;
  std::vector<Open> stack_;
  bool forbidden_ = false;
};

}  // namespace

ConfigNode parse_yaml(std::string_view text, std::string_view origin) {
  NodeBuilder builder(origin);
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    parser.HandleNextDocument(builder);
    builder.forbid_content();
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const YAML::Exception& error) {
    builder.fail(error.mark, "not valid YAML (" + error.msg + ")",
                 "check indentation, brackets and quotes here and on the line before");
  }
  return builder.take_root();
}

ConfigNode load_yaml_file(const std::filesystem::path& path) {
  LIGHTNING_CHECK(detail::kind_of(path) != detail::FileKind::kFolder, ConfigError, "config file ",
                  path.string(), " is a folder, expected a YAML file");
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (file) text << file.rdbuf();
  // An empty file sets text's failbit, not the file's badbit.
  LIGHTNING_CHECK(file.is_open() && !file.bad(), ConfigError, "config file ", path.string(),
                  " can't be read (", std::strerror(errno),
                  "), expected a YAML file. HINT: check the path given to --config.");
  return parse_yaml(text.str(), path.string());
}

}  // namespace lightning::config
