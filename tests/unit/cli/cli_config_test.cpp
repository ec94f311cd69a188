#include <lightning/cli/detail/cli_config.h>

#include <lightning/callbacks/registry.h>
#include <lightning/config/yaml.h>
#include <lightning/profilers/registry.h>

#include "cli_support.h"

using cli_test::config_error;
using cli_test::resolved;
using cli_test::run;
using cli_test::text_at;
using cli_test::write_file;
using lightning::CliSettings;
using lightning::config::to_yaml;
using lightning_tests::TemporaryFolder;

namespace {

struct GreeterOptions {
  std::string greeting = "hello";
  int64_t times = 1;
};
LIGHTNING_FIELDS(GreeterOptions, LIGHTNING_FIELD(greeting, "text"),
                 LIGHTNING_FIELD(times, "how often"));

/// What the Greeter found when the last fit started.
std::string greeted;

class Greeter : public lightning::Callback {
 public:
  explicit Greeter(const GreeterOptions& given) : options(given) {}
  void on_fit_start(lightning::TrainerContext& trainer, lightning::LightningModule&) override {
    greeted = std::to_string(options.times) + " times, loggers:";
    for (const auto& logger : trainer.loggers()) greeted.append(" ").append(logger->name());
  }
  GreeterOptions options;
};

/// Actions that the last Counter was told of.
int64_t counted = 0;

class Counter : public lightning::Profiler {
 public:
  Counter() { counted = 0; }

 private:
  std::string_view do_name() const override { return "counter"; }
  void do_start(int32_t) override { ++counted; }
  void do_stop(int32_t) noexcept override {}
};

/// What a program does in main().
void add_greeter() {
  static const bool added = [] {
    lightning::callback_registry().add<Greeter, GreeterOptions>("Greeter", "greets");
    lightning::profiler_registry().add<Counter>("Counter", "counts actions");
    return true;
  }();
  static_cast<void>(added);
}

}  // namespace

TEST_CASE("the command line lies over config files, later files over earlier ones") {
  const TemporaryFolder folder;
  const std::string first = write_file(
      folder, "first.yaml",
      "trainer: {max_epochs: 1, min_epochs: 1}\nmodel: {learning_rate: 0.5, width: 2}\n");
  const std::string second = write_file(
      folder, "second.yaml", "trainer: {max_epochs: 2}\nmodel:\ndata: {batch_size: 8}\n");
  const auto config =
      resolved({"--trainer.max_epochs", "3", "--config", first, "--config", second});
  CHECK(text_at(config, "trainer.max_epochs") == "3");
  CHECK(text_at(config, "trainer.min_epochs") == "1");
  CHECK(text_at(config, "model.learning_rate") == "0.5");
  CHECK(text_at(config, "model.width") == "2");
  CHECK(text_at(config, "data.batch_size") == "8");
  CHECK(text_at(config, "data.num_points") == "16");
}

TEST_CASE("the program's defaults lie under everything") {
  const CliSettings settings{.defaults = "trainer: {max_epochs: 7}\nmodel: {width: 3}\n"};
  const auto config = resolved({"--model.width=4"}, settings);
  CHECK(text_at(config, "trainer.max_epochs") == "7");
  CHECK(text_at(config, "model.width") == "4");
  CHECK(config_error([] { resolved({}, {.defaults = "modle: {}"}); }) ==
        "defaults of liner:1: unknown key \"modle\". HINT: did you mean \"model\"?");
}

TEST_CASE("the resolved config is itself a valid config with the same result") {
  add_greeter();
  const TemporaryFolder folder;
  const auto config =
      resolved({"--trainer.callbacks", "[{class_path: Greeter}]", "--trainer.logger=false",
                "--model.title", "12", "--seed_everything", "7", "--trainer.max_time=90s"});
  CHECK(text_at(config, "trainer.callbacks.0.init_args.greeting") == "hello");
  const std::string file = write_file(folder, "config.yaml", to_yaml(config));
  INFO(to_yaml(config));
  CHECK(to_yaml(resolved({"--config", file})) == to_yaml(config));
}

TEST_CASE("lists on the command line replace, and index paths reach into lists") {
  add_greeter();
  const TemporaryFolder folder;
  const std::string file = write_file(folder, "a.yaml",
                                      "trainer:\n"
                                      "  callbacks:\n"
                                      "    - class_path: lightning.pytorch.callbacks.Greeter\n"
                                      "      init_args: {times: 2}\n"
                                      "    - Greeter\n");
  auto config = resolved({"--config", file, "--trainer.callbacks.0.init_args.times", "5",
                          "--trainer.callbacks.0.init_args.greeting", "[not a list"});
  CHECK(text_at(config, "trainer.callbacks.0.class_path") == "Greeter");
  CHECK(text_at(config, "trainer.callbacks.0.init_args.times") == "5");
  CHECK(text_at(config, "trainer.callbacks.0.init_args.greeting") == "[not a list");
  CHECK(text_at(config, "trainer.callbacks.1.init_args.times") == "1");

  config = resolved({"--config", file, "--trainer.callbacks=[Greeter]"});
  CHECK(config.find_path("trainer.callbacks")->items().size() == 1);

  config =
      resolved({"--trainer.callbacks=[Greeter]", "--trainer.callbacks.0.init_args.greeting=yes",
                "--trainer.logger=CSVLogger", "--trainer.logger.init_args.file=m.csv"});
  CHECK(text_at(config, "trainer.callbacks.0.init_args.greeting") == "yes");
  CHECK(text_at(config, "trainer.logger.init_args.file") == "m.csv");

  CHECK(config_error([&] {
          resolved({"--config", file, "--trainer.callbacks.2.init_args.times", "5"});
        }) ==
        "command line (--trainer.callbacks.2.init_args.times): "
        "\"trainer.callbacks.2.init_args.times\" leads into a list of 2 items, expected an index "
        "below 2 instead of \"2\"");
}

TEST_CASE("values on the command line are read by the type of their key") {
  CHECK(text_at(resolved({"--model.title", "null"}), "model.title") == "null");
  CHECK(text_at(resolved({"--model.title", "{a}: [b"}), "model.title") == "{a}: [b");
  CHECK(text_at(resolved({"--model.title="}), "model.title").empty());
  CHECK(resolved({"--model.note", "null"}).find_path("model.note")->is_null());
  CHECK(text_at(resolved({"--model.note", "x: y"}), "model.note") == "x: y");
  CHECK(resolved({"--trainer.max_epochs", "null"}).find_path("trainer.max_epochs")->is_null());
  CHECK(text_at(resolved({"--model", "{width: 3}", "--model.title=t"}), "model.width") == "3");
  CHECK(text_at(resolved({"--trainer.limit_train_batches", "0.5"}),
                "trainer.limit_train_batches") == "0.5");
  CHECK(text_at(resolved({"--trainer.precision", "16"}), "trainer.precision") == "16-mixed");
  CHECK(text_at(resolved({"--trainer.strategy", "auto"}), "trainer.strategy") == "auto");
  CHECK(text_at(resolved({"--trainer.strategy.class_path=ddp",
                          "--trainer.strategy.init_args.bucket_cap_mb=4"}),
                "trainer.strategy.init_args.bucket_cap_mb") == "4");
  CHECK(text_at(resolved({"--optimizer=AdamW", "--optimizer.init_args.lr=0.5"}),
                "optimizer.init_args.weight_decay") == "0.01");
  CHECK(resolved({}).find("optimizer") == nullptr);
  CHECK(text_at(resolved({"--trainer.devices", "2"}), "trainer.devices") == "2");
  for (const char* list : {"0,1", "[0, 1]"}) {
    const auto config = resolved({"--trainer.devices", list});
    CHECK(to_yaml(config).find("  devices: [0, 1]\n") != std::string::npos);
    CHECK(text_at(config, "trainer.devices.1") == "1");
  }
}

TEST_CASE("mistakes on the command line are named with the option that was meant") {
  const auto error = [](std::vector<std::string> arguments) {
    return config_error([&] { resolved(arguments); });
  };
  CHECK(error({"--trainer.max_epoch", "2"}) ==
        "command line: unknown option \"--trainer.max_epoch\". HINT: did you mean "
        "\"--trainer.max_epochs\"?");
  CHECK(error({"--learning_rate", "2"}) ==
        "command line: unknown option \"--learning_rate\". HINT: did you mean "
        "\"--model.learning_rate\"?");
  CHECK(error({"--model.zzz", "2"}) ==
        "command line: unknown option \"--model.zzz\". HINT: the keys of model are learning_rate, "
        "width, title, note.");
  CHECK(error({"--model.width", "2.5"}) ==
        "command line (--model.width): model.width is \"2.5\", expected an integer.");
  CHECK(error({"--model", "5"}) ==
        "command line (--model): model is \"5\", expected a map of keys. HINT: write --model.KEY "
        "VALUE.");
  CHECK(error({"--model", "{widht: 5}"}) ==
        "command line (--model):1: unknown key \"model.widht\". HINT: did you mean "
        "\"model.width\"?");
  CHECK(error({"--trainer.max_epochs", "[1"}).find("command line (--trainer.max_epochs):1:") == 0);
  CHECK(error({"--seed_everything", "-1"}) ==
        "command line (--seed_everything): seed_everything is \"-1\", expected true, false or an "
        "integer of at least 0.");
  CHECK(error({"--trainer.callbacks", "Stopper"})
            .find("command line (--trainer.callbacks): unknown callback \"Stopper\" in "
                  "trainer.callbacks, expected one of ") == 0);
}

TEST_CASE("mistakes in config files are named with file and line") {
  add_greeter();
  const TemporaryFolder folder;
  const auto error = [&](const std::string& text) {
    const std::string file = write_file(folder, "a.yaml", text);
    std::string message = config_error([&] { resolved({"--config", file}); });
    const size_t at = message.find(file);
    return at == std::string::npos ? message : message.replace(at, file.size(), "a.yaml");
  };
  CHECK(error("trainer:\n  max_epoch: 2\n") ==
        "a.yaml:2: unknown key \"trainer.max_epoch\". HINT: did you mean \"trainer.max_epochs\"?");
  CHECK(error("trainer:\n  callback: []\n") ==
        "a.yaml:2: unknown key \"trainer.callback\". HINT: did you mean \"trainer.callbacks\"?");
  CHECK(error("trainer: {learning_rate: 1}") ==
        "a.yaml:1: unknown key \"trainer.learning_rate\". HINT: did you mean "
        "\"model.learning_rate\"?");
  CHECK(error("network: x") ==
        "a.yaml:1: unknown key \"network\". HINT: the keys are seed_everything, optimizer, "
        "lr_scheduler, ckpt_path, model, data, trainer.");
  CHECK(
      error("key:value") ==
      "a.yaml:1: the top level is not a map; expected keys such as \"trainer:\". HINT: put a space "
      "after each colon.");
  CHECK(error("trainer: 5") == "a.yaml:1: trainer is \"5\", expected a map of keys.");
  CHECK(error("data: {batch_size: four}") ==
        "a.yaml:1: data.batch_size is \"four\", expected an integer.");
  CHECK(error("trainer:\n  callbacks:\n    - class_path: Greeter\n      init_args:\n        time: "
              "2\n") ==
        "a.yaml:5: unknown key \"trainer.callbacks.0.init_args.time\". HINT: did you mean "
        "\"trainer.callbacks.0.init_args.times\"?");
  CHECK(error("trainer: {logger: CSVLoger}").find("did you mean \"CSVLogger\"?") !=
        std::string::npos);
  CHECK(config_error([] {
          resolved({"--config", "/nonexistent.yaml"});
        }) ==
        "config file /nonexistent.yaml can't be read (No such file or directory), expected a YAML "
        "file. HINT: check the path given to --config.");
}

TEST_CASE("seed_everything resolves to the seed that was taken") {
  CHECK(text_at(resolved({}), "seed_everything") == "0");
  CHECK(text_at(resolved({"--seed_everything", "true"}), "seed_everything") == "0");
  CHECK(text_at(resolved({"--seed_everything", "42"}), "seed_everything") == "42");
  CHECK(text_at(resolved({"--seed_everything", "false"}), "seed_everything") == "false");

  resolved({"--seed_everything", "42"});
  const auto first = torch::rand(4);
  resolved({"--seed_everything", "42"});
  CHECK(torch::equal(torch::rand(4), first));
  resolved({"--seed_everything", "43"});
  CHECK_FALSE(torch::equal(torch::rand(4), first));
}

TEST_CASE("callbacks, loggers and the profiler of the config become objects of the Trainer") {
  add_greeter();
  const TemporaryFolder folder;
  const std::vector<std::string> arguments = {"fit",
                                              "--trainer.default_root_dir",
                                              folder.path().string(),
                                              "--trainer.max_epochs=1",
                                              "--trainer.enable_progress_bar=false",
                                              "--trainer.callbacks",
                                              "[{class_path: Greeter, init_args: {times: 3}}]"};
  const auto loggers_of = [&](const std::string& spec) {
    greeted.clear();
    std::vector<std::string> all = arguments;
    all.push_back("--trainer.logger=" + spec);
    REQUIRE(run(all) == 0);
    return greeted;
  };
  CHECK(loggers_of("{class_path: CSVLogger}") == "3 times, loggers: CSVLogger");
  CHECK(loggers_of("[TensorBoardLogger, CSVLogger]") ==
        "3 times, loggers: TensorBoardLogger CSVLogger");
  CHECK(loggers_of("false") == "3 times, loggers:");
  CHECK(loggers_of("true") == "3 times, loggers: CSVLogger TensorBoardLogger");

  CHECK(counted == 0);
  std::vector<std::string> profiled = arguments;
  profiled.push_back("--trainer.profiler=Counter");
  REQUIRE(run(profiled) == 0);
  CHECK(counted > 0);
}
