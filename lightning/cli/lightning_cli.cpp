#include <lightning/cli/lightning_cli.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <iostream>

#include <lightning/cli/detail/cli_keys.h>
#include <lightning/cli/detail/command_line.h>
#include <lightning/cli/detail/help.h>
#include <lightning/cli/detail/version.h>
#include <lightning/cli/prediction_file.h>
#include <lightning/cli/run_main.h>
#include <lightning/config/detail/names.h>
#include <lightning/config/yaml.h>
#include <lightning/util/error.h>
#include <lightning/util/exit_codes.h>

namespace lightning {

using config::ConfigNode;

namespace {

int run_fit(CliContext& context) {
  Trainer& trainer = context.trainer();
  const auto module = context.module();
  const RunArguments arguments{.ckpt_path = context.ckpt_path()};
  if (const auto data = context.data_module()) {
    trainer.fit(module, data, arguments);
  } else {
    trainer.fit(module, DataLoaders{}, DataLoaders{}, arguments);
  }
  return 0;
}

int run_validate(CliContext& context) {
  Trainer& trainer = context.trainer();
  const auto module = context.module();
  const RunArguments arguments{.ckpt_path = context.ckpt_path()};
  if (const auto data = context.data_module()) {
    trainer.validate(module, data, arguments);
  } else {
    trainer.validate(module, DataLoaders{}, arguments);
  }
  return 0;
}

int run_test(CliContext& context) {
  Trainer& trainer = context.trainer();
  const auto module = context.module();
  const RunArguments arguments{.ckpt_path = context.ckpt_path()};
  if (const auto data = context.data_module()) {
    trainer.test(module, data, arguments);
  } else {
    trainer.test(module, DataLoaders{}, arguments);
  }
  return 0;
}

int run_predict(CliContext& context) {
  Trainer& trainer = context.trainer();
  const auto module = context.module();
  const RunArguments arguments{.ckpt_path = context.ckpt_path()};
  PredictionFile file;
  const PredictionSink sink = [&file](const Batch& outputs, const Batch& batch, int64_t) {
    file.add(outputs, batch);
  };
  if (const auto data = context.data_module()) {
    trainer.predict(module, data, sink, arguments);
  } else {
    trainer.predict(module, DataLoaders{}, sink, arguments);
  }
  file.write(trainer);
  return 0;
}

/// The built-in commands with the program's own over them.
std::vector<CliCommand> all_commands(const CliSettings& settings) {
  std::vector<CliCommand> commands = {
      make_command("fit", "train the model; with --ckpt_path, resume from a checkpoint", run_fit),
      make_command("validate", "run the validation data through the model", run_validate),
      make_command("test", "run the test data through the model", run_test),
      make_command("predict", "run the prediction data through the model and write what it gives",
                   run_predict),
  };
  for (const CliCommand& own : settings.commands) {
    bool replaced = false;
    for (CliCommand& command : commands) {
      if (command.name != own.name) continue;
      command = own;
      replaced = true;
    }
    if (!replaced) commands.push_back(own);
  }
  return commands;
}

const CliCommand& find_command(const std::vector<CliCommand>& commands, const std::string& name) {
  std::vector<std::string> names;
  std::string list;
  for (const CliCommand& command : commands) {
    if (command.name == name) return command;
    names.push_back(command.name);
    list += (list.empty() ? "" : ", ") + command.name;
  }
  LIGHTNING_CHECK(!name.empty(), ConfigError, "command line: no command, expected one of ", list,
                  " as the first argument. HINT: --help lists all options.");
  const std::string nearest = config::nearest_name(name, names);
  throw ConfigError(
      detail::concat("command line: unknown command \"", name, "\", expected one of ", list, ".",
                     nearest.empty() ? "" : " HINT: did you mean \"" + nearest + "\"?"));
}

/// Own keys can't be distinguished from sections and general keys of the same name.
void check_own_keys(const CliCommand& command, const CliKeys& common) {
  for (const config::KeyInfo& own : command.options.keys) {
    const std::string top = own.key.substr(0, own.key.find('.'));
    bool taken = top == "trainer" || top == "model" || top == "data" || top == "config" ||
                 top == "help" || top == "print_config" || top == "version" || top == "dry_run" ||
                 top == "world_size";
    for (const config::KeyInfo& info : common.keys()) taken |= info.key == top;
    LIGHTNING_CHECK(!taken, ConfigError, "command ", command.name, ": option \"", top,
                    "\" has the name of a key that every program has, expected a different name");
  }
}

/// The command's own options: they are no part of the config that is saved with a run.
ConfigNode take_own_options(const CliCommand& command, ConfigNode& config) {
  ConfigNode own = ConfigNode::map();
  for (const config::KeyInfo& info : command.options.keys) {
    const std::string top = info.key.substr(0, info.key.find('.'));
    if (config.find(top) != nullptr) own.set(top, config.take(top));
  }
  return own;
}

void print_to_stdout(const std::string& text) {
  const bool written =
      std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0;
  LIGHTNING_CHECK(written, Error, "cannot write to standard output (", std::strerror(errno), ")");
}

/// The exit code. A reader that has seen enough is no reason for a message.
int finish_stdout() {
  errno = 0;
  std::cout.flush();
  const bool written = std::fflush(stdout) == 0 && std::ferror(stdout) == 0 && std::cout.good();
  if (!written && errno == EPIPE) return kFailureExitCode;
  LIGHTNING_CHECK(written, Error, "cannot write to standard output (", std::strerror(errno), ")");
  return 0;
}

}  // namespace

int run_cli(int argc, char** argv, const CliProgram& program, const CliSettings& settings) {
  const CommandLine line = parse_command_line(argc, argv);
  if (line.version) {
    print_to_stdout(version_text());
    return 0;
  }
  const ConfigNode defaults =
      config::parse_yaml(settings.defaults, "defaults of " + line.program_name());
  const std::vector<CliCommand> commands = all_commands(settings);
  const CliKeys common = make_cli_keys(program, {}, defaults);
  HelpText help{line.program_name(), settings.description, line.command, {}};
  for (const CliCommand& command : commands) help.commands.emplace_back(command.name, command.help);
  if (line.help && line.command.empty()) {
    print_to_stdout(format_help(help, common));
    return 0;
  }

  const CliCommand& command = find_command(commands, line.command);
  check_own_keys(command, common);
  const CliKeys keys = make_cli_keys(program, command.options, defaults);
  if (line.help) {
    print_to_stdout(format_help(help, keys));
    return 0;
  }
  ConfigNode config = resolve_cli_config(program, command.options, keys, line, defaults);
  if (line.print_config) {
    print_to_stdout(config::to_yaml(config));
    return 0;
  }
  const ConfigNode own = take_own_options(command, config);
  CliContext context(program, std::move(config), line.program);
  const int exit_code = command.run(context, own);
  // A training isn't lost with its terminal. The other commands are there for what they print.
  return exit_code == 0 && line.command != "fit" ? finish_stdout() : exit_code;
}

int run_cli_main(int argc, char** argv, const CliProgram& program, const CliSettings& settings) {
  return run_main(argc, argv, [&](int count, char** arguments) {
    return run_cli(count, arguments, program, settings);
  });
}

}  // namespace lightning
