#include <lightning/cli/detail/help.h>

#include <algorithm>
#include <string_view>

#include <lightning/config/registry.h>

namespace lightning {

using config::KeyInfo;

namespace {

/// Cells wider than this push the rest of their row to a separate line.
constexpr size_t kWidestKey = 34;
constexpr size_t kWidestType = 24;
constexpr size_t kWidestDefault = 16;

/// Width on the terminal: UTF-8 continuation bytes take no room.
size_t width_of(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

/// Appends `cell`, then continues at `column`, on a new line when the cell is too long.
void put_cell(std::string& out, std::string_view cell, size_t& at, size_t column) {
  out += cell;
  at += width_of(cell);
  if (at + 2 > column) {
    out += '\n';
    at = 0;
  }
  out.append(column - at, ' ');
  at = column;
}

class KeyTable {
 public:
  explicit KeyTable(const std::vector<KeyInfo>& keys) {
    for (const KeyInfo& info : keys) {
      key_ = std::max(key_, std::min(kWidestKey, width_of(info.key)));
      type_ = std::max(type_, std::min(kWidestType, width_of(info.type)));
      default_ = std::max(default_, std::min(kWidestDefault, width_of(info.default_value)));
    }
  }
  std::string row(const KeyInfo& info, size_t indent, std::string_view prefix) const {
    std::string out(indent, ' ');
    size_t at = indent;
    size_t column = indent + prefix.size() + key_ + 2;
    put_cell(out, std::string(prefix) + info.key, at, column);
    column += type_ + 2;
    put_cell(out, info.type, at, column);
    column += default_ + 2;
    put_cell(out, info.default_value, at, column);
    out += info.help;
    while (out.back() == ' ') out.pop_back();
    return out + "\n";
  }

 private:
  size_t key_ = 0;
  size_t type_ = 0;
  size_t default_ = 0;
};

std::string name_table(const std::vector<std::pair<std::string, std::string>>& names) {
  size_t widest = 0;
  for (const auto& [name, help] : names) widest = std::max(widest, width_of(name));
  std::string out;
  for (const auto& [name, help] : names) {
    out.append("  ")
        .append(name)
        .append(widest - width_of(name) + 2, ' ')
        .append(help)
        .append("\n");
  }
  return out;
}

/// The classes of one registry, and the keys that may name them.
struct ClassList {
  const config::RegistryBase* registry;
  std::string keys;
};

/// Adds the registries of `keys`, and those of their classes' init_args.
void collect(std::vector<ClassList>& lists, const std::vector<KeyInfo>& keys,
             const std::string& prefix) {
  for (const KeyInfo& info : keys) {
    for (const config::RegistryBase* registry : info.registries) {
      const auto known = std::find_if(lists.begin(), lists.end(), [&](const ClassList& list) {
        return list.registry == registry;
      });
      if (known != lists.end()) {
        known->keys += ", " + prefix + info.key;
        continue;
      }
      lists.push_back({registry, prefix + info.key});
      for (const auto& entry : registry->entries()) {
        collect(lists, entry.init_args(), entry.name + ".");
      }
    }
  }
}

std::string class_help(const std::vector<KeyInfo>& keys) {
  std::vector<ClassList> lists;
  collect(lists, keys, "");
  std::string out;
  for (const ClassList& list : lists) {
    out.append("\nClasses for ").append(list.keys);
    out += " ({class_path: NAME, init_args: {KEY: VALUE}}):\n";
    std::vector<KeyInfo> all;
    for (const auto& entry : list.registry->entries()) {
      for (KeyInfo& info : entry.init_args()) all.push_back(std::move(info));
    }
    const KeyTable table(all);
    for (const auto& entry : list.registry->entries()) {
      out.append("  ").append(entry.name).append(": ").append(entry.help).append("\n");
      for (const KeyInfo& info : entry.init_args()) out += table.row(info, 4, "");
    }
    if (list.registry->entries().empty()) {
      out.append("  (no ").append(list.registry->kind()).append(" is registered)\n");
    }
  }
  return out;
}

constexpr const char* kUsage =
    " [--config FILE]... [--KEY VALUE]... [--print_config] [--version] [--help]\n";

/// `more`: rows of the kind of program.
std::string general_options(const std::vector<std::pair<std::string, std::string>>& more = {}) {
  std::vector<std::pair<std::string, std::string>> rows = {
      {"-c, --config FILE", "YAML file with the keys below; may be repeated"},
      {"--KEY VALUE, --KEY=VALUE", "one key, over all files"},
      {"--print_config", "print the resolved config and exit"}};
  rows.insert(rows.end(), more.begin(), more.end());
  rows.emplace_back("--version",
                    "print the versions of the library and LibTorch, the compiler and what this "
                    "machine offers, and exit");
  rows.emplace_back("-h, --help", "print this text and exit");
  return "\nOptions:\n" + name_table(rows);
}

std::string usage(const HelpText& text) {
  std::string out = "usage: " + text.program + " ";
  out += text.command.empty() ? "COMMAND" : text.command;
  out += kUsage;
  if (!text.description.empty()) out.append("\n").append(text.description).append("\n");
  if (text.command.empty()) {
    out.append("\nCommands:\n").append(name_table(text.commands));
  } else {
    for (const auto& [name, help] : text.commands) {
      if (name == text.command)
        out.append("\n").append(name).append(": ").append(help).append("\n");
    }
  }
  out += general_options(
      {{"--dry_run, --world_size N", "fit: a few steps as rank 0 of N ranks that don't exist"}});
  return out;
}

}  // namespace

std::string format_help(const HelpText& text, const CliKeys& keys) {
  std::string out = usage(text);
  out +=
      "\nKeys (in YAML, \"trainer.max_epochs\" is max_epochs below trainer): type, default, "
      "help\n";
  const KeyTable table(keys.keys());
  for (const KeyInfo& info : keys.keys()) out += table.row(info, 2, "--");
  return out + class_help(keys.keys());
}

std::string format_options_help(const std::string& program, std::string_view description,
                                const std::vector<KeyInfo>& keys) {
  std::string out = "usage: " + program + kUsage;
  if (!description.empty()) out.append("\n").append(description).append("\n");
  out += general_options();
  out += "\nKeys: type, default, help\n";
  const KeyTable table(keys);
  for (const KeyInfo& info : keys) out += table.row(info, 2, "--");
  return out + class_help(keys);
}

}  // namespace lightning
