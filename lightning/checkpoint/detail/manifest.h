/// The manifest of a checkpoint: what lies in its directory. Without one, a directory is no
/// checkpoint.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include <lightning/util/error.h>

namespace lightning::detail {

inline constexpr int64_t kCheckpointFormatVersion = 1;

/// An uncommitted or damaged checkpoint. Never leaves the library: the text gets a HINT first.
class DamagedCheckpoint : public CheckpointError {
 public:
  using CheckpointError::CheckpointError;
};

struct Manifest {
  struct File {
    uint64_t size_bytes = 0;
    uint32_t crc32c = 0;
  };

  /// Optimizer steps done, when the state has them.
  std::optional<int64_t> global_step;
  /// Checkpoint::id; may be empty.
  std::string id;
  /// By path in the directory, with '/'.
  std::map<std::string, File> files;
  /// Names of tied tensors: alias, name in model.safetensors.
  std::map<std::string, std::string> aliases;

  std::string to_json() const;
  /// `directory` is for messages. Throws DamagedCheckpoint, and CheckpointError for a newer format.
  static Manifest from_json(std::string_view text, const std::filesystem::path& directory);
};

/// The manifest of a committed checkpoint (or of a link to one). Throws like Manifest::from_json(),
/// and when there is none.
Manifest read_manifest(const std::filesystem::path& directory);

/// Compares a file with its manifest; throws DamagedCheckpoint.
void check_file(const std::filesystem::path& directory, const Manifest& manifest,
                std::string_view file, bool checksum);

/// Whether assets may have this name: a relative path that stays in its folder.
bool is_safe_file_name(std::string_view name);

}  // namespace lightning::detail
