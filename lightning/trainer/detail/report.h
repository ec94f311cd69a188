/// What the Trainer prints: the options at start, the metrics of a pass, the end of a run.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <lightning/loops/run_state.h>

namespace lightning {

/// The resolved options, as they came out in this run, that differ from their defaults or that
/// everyone asks for; the device, the number of ranks and the run's folder.
void print_run_header(const RunState& run, const std::optional<std::filesystem::path>& checkpoint);
/// Lightning's lines at the start of a program with several ranks, before they connect (each rank
/// prints its number) and when all have connected.
void print_rendezvous(const Topology& topology);
void print_world_ready(World& world);
/// Why the run ended, its time, this rank's peak memory in tensors (where it is known), the run's
/// folder and the best checkpoint's.
void print_run_end(const RunState& run);
/// One table with a column for each loader.
void print_metrics(Stage stage, const std::vector<MetricMap>& metrics);
/// Sends the flat form of the run's config to the loggers.
void log_hyperparameters(RunState& run);
/// "1.5 MiB".
std::string size_text(int64_t bytes);
/// "SIGTERM", and where it helps what it means: "SIGINT (Ctrl-C)".
std::string signal_name(int signal);
/// The command line that resumes from a checkpoint.
std::string resume_command(const std::string& program, const std::filesystem::path& config_file,
                           const std::filesystem::path& checkpoint);

}  // namespace lightning
