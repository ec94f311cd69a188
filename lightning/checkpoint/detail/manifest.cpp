#include <lightning/checkpoint/detail/manifest.h>

#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <system_error>

#include <nlohmann/json.hpp>

#include <lightning/checkpoint/detail/mapped_file.h>
#include <lightning/checkpoint/detail/names.h>
#include <lightning/util/detail/crc32c.h>
#include <lightning/util/detail/disk.h>
#include <lightning/util/file_system.h>

namespace lightning::detail {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

constexpr const char* kFormatName = "lightning-checkpoint";

std::string checksum_text(uint32_t crc) {
  char text[9];
  std::snprintf(text, sizeof text, "%08x", crc);
  return text;
}

uint32_t parse_checksum(const std::string& text) {
  uint32_t crc = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), crc, 16);
  if (text.size() != 8 || error != std::errc() || end != text.data() + text.size()) {
    throw CheckpointError("the checksum \"" + text + "\" is no 8-digit hexadecimal number");
  }
  return crc;
}

/// Why a path can't be looked at; 0 when it can.
int access_error(const fs::path& path) { return ::access(path.c_str(), F_OK) == 0 ? 0 : errno; }

/// The checksum of all fields before it, as they are written.
std::string self_checksum(ordered_json manifest) {
  manifest.erase("manifest_crc32c");
  const std::string text = manifest.dump();
  return checksum_text(crc32c(text.data(), text.size()));
}

Manifest parse(const ordered_json& json) {
  Manifest manifest;
  if (json.at("manifest_crc32c").get<std::string>() != self_checksum(json)) {
    throw CheckpointError("its own checksum doesn't match");
  }
  if (!json.at("global_step").is_null()) manifest.global_step = json["global_step"].get<int64_t>();
  // Not in the first checkpoints that were written.
  if (json.contains("id")) manifest.id = json["id"].get<std::string>();
  for (const auto& [name, entry] : json.at("files").items()) {
    if (!is_safe_file_name(name)) throw CheckpointError("it lists a file \"" + name + "\"");
    manifest.files[name] = {.size_bytes = entry.at("size_bytes").get<uint64_t>(),
                            .crc32c = parse_checksum(entry.at("crc32c").get<std::string>())};
  }
  for (const std::string_view file : {kModelFile, kStateTensorsFile, kStateFile, kConfigFile}) {
    if (!manifest.files.contains(std::string(file))) {
      throw CheckpointError(concat("it doesn't list ", file));
    }
  }
  for (const auto& [alias, name] : json.at("aliases").items()) {
    manifest.aliases[alias] = name.get<std::string>();
  }
  return manifest;
}

}  // namespace

std::string Manifest::to_json() const {
  ordered_json json;
  json["format"] = kFormatName;
  json["format_version"] = kCheckpointFormatVersion;
  json["written_by"] = "lightning " LIGHTNING_VERSION;
  json["global_step"] = global_step ? ordered_json(*global_step) : ordered_json(nullptr);
  if (!id.empty()) json["id"] = id;
  json["files"] = ordered_json::object();
  for (const auto& [name, file] : files) {
    json["files"][name] = {{"size_bytes", file.size_bytes}, {"crc32c", checksum_text(file.crc32c)}};
  }
  json["aliases"] = aliases;
  json["manifest_crc32c"] = self_checksum(json);
  return json.dump(2) + "\n";
}

Manifest Manifest::from_json(std::string_view text, const fs::path& directory) {
  const auto fail = [&](const std::string& reason) {
    throw DamagedCheckpoint(detail::concat("checkpoint \"", directory.string(),
                                           "\": ", kManifestFile, " is damaged (", reason, ")"));
  };
  try {
    const auto json = ordered_json::parse(text);
    if (json.at("format").get<std::string>() != kFormatName) fail("unknown format");
    const auto version = json.at("format_version").get<int64_t>();
    LIGHTNING_CHECK(version <= kCheckpointFormatVersion, CheckpointError, "checkpoint \"",
                    directory.string(), "\": has format version ", version,
                    ", this library reads versions up to ", kCheckpointFormatVersion,
                    ". HINT: update the library; the checkpoint was written by ",
                    json.value("written_by", "a newer one"), ".");
    try {
      return parse(json);
    } catch (const CheckpointError& error) {
      fail(error.what());
    }
  } catch (const nlohmann::json::exception& error) {
    fail(error.what());
  }
  return {};
}

Manifest read_manifest(const fs::path& directory) {
  const std::string name = directory.filename().string();
  const auto subject = [&] { return concat("checkpoint \"", directory.string(), "\": "); };
  if (is_temporary_name(name)) {
    throw DamagedCheckpoint(subject() + "was never committed, its name is a temporary one");
  }
  const FileKind kind = kind_of(directory);
  if (kind == FileKind::kMissing) {
    if (const auto target = link_target(directory)) {
      throw DamagedCheckpoint(
          concat(subject(), "is a link to \"", target->string(), "\", which isn't there"));
    }
    if (const int error = access_error(directory); error != 0 && error != ENOENT) {
      throw DamagedCheckpoint(
          concat(subject(), "can't be read (", std::generic_category().message(error), ")"));
    }
    throw DamagedCheckpoint(subject() + "doesn't exist");
  }
  if (kind != FileKind::kFolder) {
    throw DamagedCheckpoint(subject() +
                            "is a file, but a checkpoint of this library is a directory (.ckpt "
                            "files of PyTorch Lightning can't be read)");
  }
  const fs::path manifest = directory / kManifestFile;
  if (!path_exists(manifest)) {
    throw DamagedCheckpoint(subject() + "is incomplete, it has no " + std::string(kManifestFile));
  }
  std::string text;
  try {
    text = read_file(manifest);
  } catch (const DataError& read_error) {
    throw CheckpointError(subject() + read_error.what());
  }
  return Manifest::from_json(text, directory);
}

void check_file(const fs::path& directory, const Manifest& manifest, std::string_view file,
                bool checksum) {
  const Manifest::File& expected = manifest.files.at(std::string(file));
  const auto fail = [&](const auto&... parts) {
    throw DamagedCheckpoint(concat("checkpoint \"", directory.string(), "\": ", file, parts...));
  };
  const fs::path path = directory / file;
  const std::optional<uint64_t> size = file_bytes(path);
  if (!size && access_error(path) != ENOENT) {
    fail(" can't be read (", std::generic_category().message(access_error(path)), ")");
  }
  if (!size) fail(" is missing");
  if (size != expected.size_bytes) {
    fail(" is damaged: it has ", *size, " bytes, the manifest records ", expected.size_bytes);
  }
  if (!checksum) return;
  const MappedFile bytes(path);
  const uint32_t found = crc32c(bytes.data(), bytes.size_bytes());
  if (bytes.size_bytes() != expected.size_bytes || found != expected.crc32c) {
    fail(" is damaged: its checksum is ", checksum_text(found), ", the manifest records ",
         checksum_text(expected.crc32c));
  }
}

bool is_safe_file_name(std::string_view name) {
  const fs::path path(name);
  if (path.empty() || path.is_absolute() || !path.has_filename()) return false;
  for (const fs::path& part : path) {
    if (part == ".." || part == ".") return false;
  }
  return name.find('\0') == name.npos;
}

}  // namespace lightning::detail
