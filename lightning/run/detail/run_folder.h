/// The folder of a run (fit, validate, test or predict): DEFAULT_ROOT_DIR/lightning_logs/version_N
/// with config.yaml, environment.json, the loggers' files and checkpoints/.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <lightning/config/node.h>
#include <lightning/run/resolved_options.h>
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

/// The dirpaths of the ModelCheckpoints in a config's trainer.callbacks.
LIGHTNING_API std::vector<std::filesystem::path> checkpoint_dirpaths(
    const config::ConfigNode& config);

/// What ckpt_path: last or best means for one run, whose checkpoints lie in RUN/checkpoints and in
/// the dirpaths of its ModelCheckpoints (those in its config.yaml are known): the newest committed
/// one, or the best one by a monitored metric. Without a monitor the newest one is the best.
LIGHTNING_API std::optional<std::filesystem::path> find_checkpoint_of_run(
    const std::filesystem::path& run_dir, const std::vector<std::filesystem::path>& dirpaths,
    const std::string& which);

/// The same for the newest run below default_root_dir that has a checkpoint, or for `dirpaths` when
/// what lies there was written later. Throws CheckpointError when there is none.
LIGHTNING_API std::filesystem::path find_checkpoint(
    const std::filesystem::path& default_root_dir, const std::string& which,
    const std::vector<std::filesystem::path>& dirpaths = {});

/// Writes config.yaml and environment.json (versions, git state, host, processor, device, threads).
LIGHTNING_API void write_run_files(const std::filesystem::path& run_dir, const std::string& config,
                                   const ResolvedOptions& options);

/// The same for a run that resumes in its folder from `step`: config.yaml and environment.json stay
/// as they are; what is different now goes beside them, into config-resumed-step=N.yaml and
/// environment-resumed-step=N.json (another ckpt_path alone is no difference). Returns the file
/// that has this config.
LIGHTNING_API std::filesystem::path write_resumed_run_files(const std::filesystem::path& run_dir,
                                                            const std::string& config,
                                                            const ResolvedOptions& options,
                                                            int64_t step);

}  // namespace lightning
