/// The command line of a program: one call in main().
///
///   int main(int argc, char** argv) {
///     return lightning::cli_main<LitAutoEncoder, MnistDataModule>(argc, argv);
///   }
///
///   PROGRAM fit|validate|test|predict [--config FILE]... [--trainer.max_epochs 2]
///           [--model.learning_rate=3e-5] [--ckpt_path C] [--print_config] [--version] [--help]
///
/// The module and the data module name their options as `using Options = ...;` (a struct with
/// LIGHTNING_FIELDS) and are constructible from them. docs/config.md has the whole story.
#pragma once

#include <functional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <lightning/cli/cli_class.h>
#include <lightning/cli/cli_context.h>
#include <lightning/util/export.h>

namespace lightning {

/// A command that a program adds. One named like a built-in command takes its place.
struct CliCommand {
  std::string name;
  std::string help;
  CliCommandOptions options = {};
  /// Returns the exit code. `own` holds the command's options.
  std::function<int(CliContext& context, const config::ConfigNode& own)> run = {};
};

/// A command with custom options: keys at the top level, beside trainer, model and data.
template <config::HasFields Options>
CliCommand make_command(std::string name, std::string help,
                        std::function<int(CliContext&, const Options&)> run) {
  const auto read = [](const config::ConfigNode& own) {
    Options options{};
    config::apply(own, options);
    return options;
  };
  return {
      .name = std::move(name),
      .help = std::move(help),
      .options = {.keys = config::describe(Options{}),
                  .resolve =
                      [read](const config::ConfigNode& own) { return config::to_node(read(own)); }},
      .run = [read, run = std::move(run)](CliContext& context, const config::ConfigNode& own) {
        return run(context, read(own));
      }};
}
inline CliCommand make_command(std::string name, std::string help,
                               std::function<int(CliContext&)> run) {
  return {.name = std::move(name),
          .help = std::move(help),
          .options = {},
          .run = [run = std::move(run)](CliContext& context, const config::ConfigNode&) {
            return run(context);
          }};
}

/// What a program adds to the command line that every program has.
struct CliSettings {
  /// For --help.
  std::string description = "";
  /// YAML that lies under all config files.
  std::string defaults = "";
  std::vector<CliCommand> commands = {};
};

/// For cli_main(). Throws what the command throws.
LIGHTNING_API int run_cli(int argc, char** argv, const CliProgram& program,
                          const CliSettings& settings);
/// run_cli() inside run_main().
LIGHTNING_API int run_cli_main(int argc, char** argv, const CliProgram& program,
                               const CliSettings& settings);

/// Runs the command that argv names and returns the exit code: 0, 1 for an error, 2 for a wrong
/// command line or config, 130 or 143 after a signal (see run_main()). `predict` writes the
/// outputs to RUN/predictions.safetensors (see PredictionFile); a program with a custom format
/// replaces that command. A program without a data module gives void: its module brings the
/// loaders.
template <typename Module, typename DataModule = void>
int cli_main(int argc, char** argv, const CliSettings& settings = {}) {
  CliProgram program;
  program.model = make_cli_class<Module, LightningModule>("model");
  if constexpr (!std::is_void_v<DataModule>) {
    program.data = make_cli_class<DataModule, LightningDataModule>("data");
  }
  return run_cli_main(argc, argv, program, settings);
}

}  // namespace lightning
