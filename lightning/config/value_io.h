/// Reading and writing the values that options are made of. Every read_ function throws ConfigError
/// that names the node's source, `path`, its value and what was expected.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <lightning/config/node.h>
#include <lightning/config/type_info.h>
#include <lightning/util/error.h>
#include <lightning/util/export.h>

namespace lightning::config::detail {

LIGHTNING_API bool read_bool(const ConfigNode& node, std::string_view path);
LIGHTNING_API int64_t read_signed(const ConfigNode& node, std::string_view path, int64_t smallest,
                                  int64_t largest);
LIGHTNING_API uint64_t read_unsigned(const ConfigNode& node, std::string_view path,
                                     uint64_t largest);
LIGHTNING_API double read_double(const ConfigNode& node, std::string_view path);
LIGHTNING_API float read_float(const ConfigNode& node, std::string_view path);
LIGHTNING_API std::string read_string(const ConfigNode& node, std::string_view path,
                                      std::string_view expected);
LIGHTNING_API size_t read_choice(const ConfigNode& node, std::string_view path,
                                 const std::vector<std::string>& choices,
                                 std::string_view expected);
LIGHTNING_API std::chrono::milliseconds read_duration(const ConfigNode& node, std::string_view path,
                                                      std::chrono::milliseconds unit);
/// The text for a type's from_text().
LIGHTNING_API std::string read_text(const ConfigNode& node, std::string_view path,
                                    std::string_view expected);
LIGHTNING_API const std::vector<ConfigNode>& read_list(const ConfigNode& node,
                                                       std::string_view path,
                                                       std::string_view expected);
LIGHTNING_API void read_struct(const ConfigNode& node, void* object, std::string_view path,
                               const StructInfo& info);

LIGHTNING_API ConfigNode write_double(double value);
LIGHTNING_API ConfigNode write_float(float value);
LIGHTNING_API ConfigNode write_string(std::string value);
LIGHTNING_API ConfigNode write_duration(std::chrono::milliseconds value);
LIGHTNING_API ConfigNode write_text(std::string text);
LIGHTNING_API ConfigNode write_struct(const void* object, const StructInfo& info);

/// `"norm" or "value"`; `one of "a", "b", "c"`.
LIGHTNING_API std::string expected_choice(const std::vector<std::string>& choices);
/// Throws ConfigError: source, path, text and the error of a type's own from_text().
[[noreturn]] LIGHTNING_API void throw_located(const ConfigNode& node, std::string_view path,
                                              std::string_view text, const ConfigError& error);

}  // namespace lightning::config::detail
