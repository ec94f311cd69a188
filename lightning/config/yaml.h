/// YAML text to config nodes and back. Anchors, aliases, tags and several documents in one file are
/// refused: a config contains everything where it is read.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include <lightning/config/node.h>
#include <lightning/util/export.h>

namespace lightning::config {

/// `origin` is the name that errors give to the text, usually a path. Empty text is a null node.
/// Throws ConfigError ("origin:line:column: ...") for syntax errors, duplicate keys, keys that
/// aren't text, anchors, tags, and more than ConfigNode::kDeepest levels.
LIGHTNING_API ConfigNode parse_yaml(std::string_view text, std::string_view origin);

/// Throws ConfigError also when the file can't be read.
LIGHTNING_API ConfigNode load_yaml_file(const std::filesystem::path& path);

/// Text that parse_yaml() turns into an equal node, the same for equal nodes. Comments are written
/// above their node.
LIGHTNING_API std::string to_yaml(const ConfigNode& node);

/// The same on one line, as a flow list or map, without comments.
LIGHTNING_API std::string to_flow_yaml(const ConfigNode& node);

/// Whether some YAML reader (1.1 or 1.2) would take this plain text for something else than a
/// string: numbers, booleans, null, dates, times.
LIGHTNING_API bool reads_as_other_type(std::string_view text);

}  // namespace lightning::config
