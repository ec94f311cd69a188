/// What the config room knows of a C++ type at run time.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include <lightning/config/node.h>

namespace lightning::config {

class RegistryBase;
struct StructInfo;

struct TypeInfo {
  /// For tables ("integer", "norm|value") and for errors ("an integer", `"norm" or "value"`).
  std::string name;
  std::string expected;
  ConfigNode (*write)(const void* value) = nullptr;
  /// Throws ConfigError that names the node's source, `path`, its value and what was expected.
  void (*read)(const ConfigNode& node, void* value, std::string_view path) = nullptr;
  /// Fields, for a struct and for an optional struct.
  const StructInfo* structure = nullptr;
  /// Any text is a value, whatever it looks like.
  bool is_text = false;
  /// null is a value.
  bool is_optional = false;
  /// The registries of the classes that a value names: one for a class or a list of classes, any
  /// number for a struct.
  std::vector<const RegistryBase& (*)()> registries = {};
};

struct FieldInfo {
  std::string name;
  std::string help;
  size_t offset;  // of the member in the struct, in bytes
  const TypeInfo* type;
};

struct StructInfo {
  std::vector<FieldInfo> fields;
};

}  // namespace lightning::config
