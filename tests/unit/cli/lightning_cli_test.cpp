#include <lightning/cli/lightning_cli.h>

#include <fcntl.h>

#include <sstream>

#include <lightning/checkpoint/checkpoint.h>
#include <lightning/config/yaml.h>
#include <lightning/run/detail/run_folder.h>

#include "cli_support.h"

using cli_test::AskOptions;
using cli_test::captured;
using cli_test::config_error;
using cli_test::Line;
using cli_test::Points;
using cli_test::run;
using cli_test::write_file;
using lightning::CliContext;
using lightning::CliSettings;
using lightning::make_command;
using lightning_tests::TemporaryFolder;

namespace {

std::vector<std::string> fit_arguments(const TemporaryFolder& folder) {
  return {"fit",
          "--trainer.default_root_dir",
          folder.path().string(),
          "--trainer.max_epochs=2",
          "--trainer.accelerator=cpu",
          "--trainer.enable_progress_bar=false",
          "--trainer.enable_model_summary=false"};
}

std::vector<std::string> operator+(std::vector<std::string> all,
                                   const std::vector<std::string>& more) {
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path);
  REQUIRE(file.is_open());
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

/// Fits once and returns the newest checkpoint.
std::filesystem::path fitted_checkpoint(const TemporaryFolder& folder,
                                        const std::vector<std::string>& more = {}) {
  REQUIRE(run(fit_arguments(folder) + more) == 0);
  return lightning::find_checkpoint(folder.path(), "last");
}

}  // namespace

TEST_CASE("The option --help of the program lists commands, every key, callbacks and loggers") {
  const std::string help = captured(STDOUT_FILENO, [] {
    CHECK(run({"--help"}, {.description = "Fits a line.",
                           .commands = {make_command<AskOptions>(
                               "ask", "answers a question",
                               [](CliContext&, const AskOptions&) { return 0; })}}) == 0);
  });
  INFO(help);
  CHECK(help.find("usage: liner COMMAND [--config FILE]") == 0);
  CHECK(help.find("\nFits a line.\n") != std::string::npos);
  CHECK(help.find("  ask       answers a question\n") != std::string::npos);
  CHECK(help.find("--model.learning_rate ") != std::string::npos);
  CHECK(help.find("step size of SGD\n") != std::string::npos);
  CHECK(help.find("--trainer.max_epochs ") != std::string::npos);
  CHECK(help.find("  EarlyStopping: ") != std::string::npos);
  CHECK(help.find("  CSVLogger: ") != std::string::npos);
  CHECK(help.find("--question") == std::string::npos);
}

TEST_CASE("The option --help of a command shows its keys in aligned columns") {
  const std::string help = captured(STDOUT_FILENO, [] { CHECK(run({"fit", "--help"}) == 0); });
  INFO(help);
  CHECK(help.find("usage: liner fit [--config FILE]") == 0);
  const auto column_of = [&](const std::string& key, const std::string& cell) {
    const size_t line = help.find("  --" + key + " ");
    REQUIRE(line != std::string::npos);
    return help.find(cell, line) - line;
  };
  CHECK(column_of("model.learning_rate", "number") == column_of("model.width", "integer"));
  CHECK(column_of("model.learning_rate", "0.1") == column_of("model.title", "line"));
  CHECK(column_of("model.width", "integer") ==
        column_of("trainer.limit_train_batches", "fraction or count"));
  CHECK(column_of("model.width", "integer") ==
        column_of("trainer.fast_dev_run", "true|false or count"));
  CHECK(column_of("model.width", "integer") == column_of("trainer.devices", "auto, count or list"));
  CHECK(column_of("model.width", "outputs") == column_of("data.batch_size", "points per step"));
  CHECK(help.find("\n\n\n") == std::string::npos);
  CHECK(help.find(" \n") == std::string::npos);
}

TEST_CASE("The option --help shows the program's defaults") {
  const std::string help = captured(STDOUT_FILENO, [] {
    CHECK(run({"fit", "--help"}, {.defaults = "model: {learning_rate: 0.25}"}) == 0);
  });
  const size_t line = help.find("--model.learning_rate ");
  CHECK(help.substr(line, help.find('\n', line) - line).find(" 0.25 ") != std::string::npos);
}

TEST_CASE("The option --help of a command of the program's own shows its options too") {
  const CliSettings settings{
      .commands = {make_command<AskOptions>("ask", "answers a question",
                                            [](CliContext&, const AskOptions&) { return 0; })}};
  const std::string help = captured(STDOUT_FILENO, [&] {
    CHECK(run({"ask", "--help"}, settings) == 0);
  });
  CHECK(help.find("--context_file") != std::string::npos);
  CHECK(help.find("what to answer") != std::string::npos);
}

TEST_CASE("The option --print_config prints a config that gives the same config again") {
  const TemporaryFolder folder;
  const std::string first = captured(STDOUT_FILENO, [] {
    CHECK(run({"fit", "--trainer.max_epochs=3", "--model.title=null", "--print_config"}) == 0);
  });
  CHECK(first.find("seed_everything: 0\ntrainer:\n") == 0);
  CHECK(first.find("  max_epochs: 3\n") != std::string::npos);
  CHECK(first.find("  title: \"null\"\n") != std::string::npos);
  CHECK(first.find("ckpt_path: null\n") != std::string::npos);
  const std::string file = write_file(folder, "config.yaml", first);
  const std::string second = captured(STDOUT_FILENO, [&] {
    CHECK(run({"validate", "--config", file, "--print_config"}) == 0);
  });
  CHECK(second == first);
}

TEST_CASE("output that can't be written is an error") {
  const int full = open("/dev/full", O_WRONLY);
  if (full < 0) return;
  std::fflush(nullptr);
  const int saved = dup(STDOUT_FILENO);
  dup2(full, STDOUT_FILENO);
  std::string message;
  try {
    run({"fit", "--print_config"});
  } catch (const lightning::Error& error) {
    message = error.what();
  }
  std::clearerr(stdout);
  dup2(saved, STDOUT_FILENO);
  close(saved);
  close(full);
  CHECK(message == "cannot write to standard output (No space left on device)");
}

TEST_CASE("a missing or unknown command lists the commands") {
  CHECK(config_error([] { run({}); }) ==
        "command line: no command, expected one of fit, validate, test, predict as the first "
        "argument. HINT: --help lists all options.");
  CHECK(config_error([] { run({"--config", "a.yaml"}); }).find("command line: no command") == 0);
  CHECK(config_error([] { run({"trian"}); }) ==
        "command line: unknown command \"trian\", expected one of fit, validate, test, predict.");
  CHECK(config_error([] { run({"validat"}); }).find("HINT: did you mean \"validate\"?") !=
        std::string::npos);
}

TEST_CASE("a program's own command gets its options and the objects of the config") {
  int64_t width = 0;
  std::string question;
  std::string file;
  const CliSettings settings{
      .commands = {make_command<AskOptions>(
          "ask", "answers a question", [&](CliContext& context, const AskOptions& options) {
            question = options.question;
            file = options.context_file.value_or("none").string();
            width = context.module_as<Line>()->options().width;
            CHECK(context.module() == context.module_as<Line>());
            CHECK(context.data_module_as<Points>()->options().batch_size == 2);
            CHECK(context.config().find("question") == nullptr);
            CHECK(config_error([&] { context.checkpoint(); }) ==
                  "command line: no checkpoint was given, expected one. HINT: add --ckpt_path "
                  "FOLDER.");
            return 5;
          })}};
  CHECK(run({"ask", "--question", "why: [so?", "--context-file=a b.txt", "--model.width=3",
             "--data.batch_size", "2"},
            settings) == 5);
  CHECK(question == "why: [so?");
  CHECK(file == "a b.txt");
  CHECK(width == 3);
  CHECK(config_error([&] {
          run({"fit", "--question", "why"}, settings);
        }).find("command line: unknown option \"--question\"") == 0);
}

TEST_CASE("a program's own command may replace a built-in one") {
  bool ran = false;
  CHECK(run({"predict"},
            {.commands = {make_command("predict", "writes predictions", [&](CliContext&) {
               ran = true;
               return 0;
             })}}) == 0);
  CHECK(ran);
}

namespace {
struct BadOptions {
  int64_t trainer = 0;
};
LIGHTNING_FIELDS(BadOptions, LIGHTNING_FIELD(trainer, ""));
}  // namespace

TEST_CASE("options of a command can't take the names of sections") {
  CHECK(config_error([] {
          run({"bad"}, {.commands = {make_command<BadOptions>(
                            "bad", "", [](CliContext&, const BadOptions&) { return 0; })}});
        }) ==
        "command bad: option \"trainer\" has the name of a key that every program has, expected "
        "a different name");
}

TEST_CASE("cli_main turns errors into exit codes") {
  char name[] = "liner";
  char command[] = "fit";
  char option[] = "--trainer.max_epoch=1";
  char* argv[] = {name, command, option};
  int code = 0;
  const std::string message =
      captured(STDERR_FILENO, [&] { code = lightning::cli_main<Line, Points>(3, argv); });
  CHECK(code == 2);
  CHECK(message ==
        "error: command line: unknown option \"--trainer.max_epoch\". HINT: did you mean "
        "\"--trainer.max_epochs\"?\n");
}

TEST_CASE("fit trains, and the config saved with the run gives the same run again") {
  const TemporaryFolder folder;
  const auto checkpoint = fitted_checkpoint(folder, {"--seed_everything=5", "--model.width=2"});
  const auto run_dir = lightning::run_dir_of(checkpoint);
  REQUIRE(run_dir.has_value());
  const std::string saved = read_text(*run_dir / "config.yaml");
  INFO(saved);
  CHECK(saved.find("seed_everything: 5\n") != std::string::npos);
  CHECK(saved.find("  width: 2\n") != std::string::npos);

  const TemporaryFolder second;
  REQUIRE(run({"fit", "--config", (*run_dir / "config.yaml").string(), "--trainer.default_root_dir",
               second.path().string()}) == 0);
  const auto again = lightning::find_checkpoint(second.path(), "last");
  const auto weights = lightning::Checkpoint::read(checkpoint).model;
  const auto weights_again = lightning::Checkpoint::read(again).model;
  REQUIRE(weights.size() == 2);
  REQUIRE(weights_again.size() == 2);
  for (size_t i = 0; i < weights.size(); ++i) {
    CHECK(torch::equal(weights[i].second, weights_again[i].second));
  }
}

TEST_CASE("a resumed run names changed callbacks by class and option") {
  const TemporaryFolder folder;
  const std::string filename(90, 'a');
  const auto callbacks = [&](const std::string& patience, const std::string& end) {
    return "{class_path: EarlyStopping, init_args: {monitor: val_loss, patience: " + patience +
           "}}, {class_path: ModelCheckpoint, init_args: {filename: " + filename + end + "}}]";
  };
  fitted_checkpoint(folder, {"--trainer.callbacks", "[" + callbacks("3", "b")});
  const std::string said = captured(STDERR_FILENO, [&] {
    run(fit_arguments(folder) +
        std::vector<std::string>{"--ckpt_path", "last", "--trainer.callbacks",
                                 "[LearningRateMonitor, " + callbacks("5", "c")});
  });
  INFO(said);
  const std::vector<std::string> lines = {
      "trainer.callbacks.EarlyStopping.patience: 3 in the checkpoint, 5 in the config",
      "trainer.callbacks: none in the checkpoint, LearningRateMonitor in the config",
      // Whole, since what a cut leaves is the same.
      "trainer.callbacks.ModelCheckpoint.filename: " + filename + "b in the checkpoint, " +
          filename + "c in the config"};
  for (const std::string& line : lines) CHECK(said.find(line) != std::string::npos);
  CHECK(said.find("trainer.callbacks.0") == std::string::npos);
}

TEST_CASE("validate, test and predict run with the weights of a checkpoint") {
  const TemporaryFolder folder;
  const auto checkpoint = fitted_checkpoint(folder);
  for (const char* command : {"validate", "test", "predict"}) {
    INFO(command);
    CHECK(run({command, "--ckpt_path", checkpoint.string(), "--trainer.default_root_dir",
               folder.path().string(), "--trainer.enable_progress_bar=false"}) == 0);
  }
}

TEST_CASE("options in a checkpoint are the defaults of commands other than fit") {
  const TemporaryFolder folder;
  const auto checkpoint = fitted_checkpoint(folder, {"--model.width=3", "--data.batch_size=8"});
  cli_test::inspect({"--ckpt_path", checkpoint.string()}, [](CliContext& context) {
    CHECK(cli_test::text_at(context.config(), "model.width") == "3");
    CHECK(cli_test::text_at(context.config(), "data.batch_size") == "8");
    // Only model and data: a run's limits and folders are not those of the next command.
    CHECK(context.config().find_path("trainer.max_epochs")->is_null());
  });
  const std::string file = write_file(folder, "over.yaml", "data: {batch_size: 2}\n");
  cli_test::inspect({"--ckpt_path", checkpoint.string(), "--config", file, "--model.title=mine"},
                    [](CliContext& context) {
                      CHECK(cli_test::text_at(context.config(), "model.width") == "3");
                      CHECK(cli_test::text_at(context.config(), "data.batch_size") == "2");
                      CHECK(cli_test::text_at(context.config(), "model.title") == "mine");
                    });
  cli_test::inspect({"--ckpt_path=last", "--trainer.default_root_dir", folder.path().string()},
                    [](CliContext& context) {
                      CHECK(cli_test::text_at(context.config(), "model.width") == "3");
                      CHECK(cli_test::text_at(context.config(), "ckpt_path") == "last");
                    });
}

TEST_CASE("a module is built from a checkpoint alone, wherever it was moved") {
  const TemporaryFolder folder;
  const auto checkpoint = fitted_checkpoint(folder, {"--model.width=3"});
  const auto moved = folder.path() / "moved.ckpt";
  std::filesystem::rename(checkpoint, moved);
  const auto weights = lightning::Checkpoint::read(moved).model;
  cli_test::inspect({"--ckpt_path", moved.string()}, [&](CliContext& context) {
    const auto module = std::dynamic_pointer_cast<Line>(context.module_from_checkpoint());
    REQUIRE(module != nullptr);
    CHECK(module->options().title == "line from assets");
    CHECK_FALSE(module->is_training());
    for (const auto& [name, tensor] : weights) {
      if (name == "layer.weight") CHECK(torch::equal(tensor, module->layer()->weight));
    }
  });
}

TEST_CASE("a checkpoint that isn't there is one clear error") {
  CHECK_THROWS_AS(run({"validate", "--ckpt_path", "/nonexistent/a.ckpt"}),
                  lightning::CheckpointError);
}

TEST_CASE(
    "a ckpt_path that is a folder of the module's own kind goes to the option that takes it") {
  const TemporaryFolder folder;
  write_file(folder, "line.txt", "2 x + 1");
  const std::string path = folder.path().string();
  const std::string file = write_file(folder, "title.yaml", "model: {title: another}\n");
  for (const std::vector<std::string>& more :
       {std::vector<std::string>{}, {"--config", file}, {"--model.title", "another"}}) {
    cli_test::inspect(std::vector<std::string>{"--ckpt_path", path} + more,
                      [&](CliContext& context) {
                        CHECK(context.ckpt_path().empty());
                        CHECK(cli_test::text_at(context.config(), "model.title") == path);
                        CHECK(context.module_as<Line>()->options().title == path);
                      });
  }
  CHECK(run({"validate", "--ckpt_path", path, "--trainer.default_root_dir", path,
             "--trainer.logger=false", "--trainer.enable_progress_bar=false"}) == 0);
  // There is no training to resume in it.
  const std::string error = config_error([&] { run({"fit", "--ckpt_path", path}); });
  CHECK_THAT(error, Catch::Contains(path) && Catch::Contains("HINT: --model.title " + path));
}
