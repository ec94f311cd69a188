/// The folder of a run: DEFAULT_ROOT_DIR/lightning_logs/version_N with config.yaml,
/// environment.json, the loggers' files and checkpoints/.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <lightning/trainer/options.h>
#include <lightning/util/export.h>

namespace lightning {

/// Makes the next free version_N. Throws CheckpointError (path, reason, HINT) when it can't.
LIGHTNING_API std::filesystem::path make_run_dir(const std::filesystem::path& default_root_dir);

/// The run folders below default_root_dir, newest first.
LIGHTNING_API std::vector<std::filesystem::path> list_runs(
    const std::filesystem::path& default_root_dir);

/// RUN/checkpoints.
LIGHTNING_API std::filesystem::path checkpoints_folder(const std::filesystem::path& run_dir);

/// The run folder that a checkpoint lies in (RUN/checkpoints/NAME.ckpt), if it is one.
LIGHTNING_API std::optional<std::filesystem::path> run_dir_of(
    const std::filesystem::path& checkpoint);

/// The newest committed checkpoint of the newest run below default_root_dir that has one ("last"),
/// or the best.ckpt of the newest run that has one ("best"). Throws CheckpointError when there is
/// none.
LIGHTNING_API std::filesystem::path find_checkpoint(const std::filesystem::path& default_root_dir,
                                                    const std::string& which);

/// Writes config.yaml and environment.json (versions, git state, host, processor, device, threads).
LIGHTNING_API void write_run_files(const std::filesystem::path& run_dir, const std::string& config,
                                   const ResolvedOptions& options);

}  // namespace lightning
