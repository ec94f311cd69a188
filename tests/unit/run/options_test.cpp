#include <limits>

#include <catch2/catch.hpp>

#include <lightning/config/options.h>
#include <lightning/config/yaml.h>
#include <lightning/run/options.h>
#include <lightning/run/resolved_options.h>
#include <lightning/util/error.h>

using lightning::BatchLimit;
using lightning::ConfigError;
using lightning::Devices;
using lightning::TrainerOptions;

TEST_CASE("BatchLimit tells a share from a number by the decimal point", "[trainer]") {
  CHECK(BatchLimit::from_text("1") == BatchLimit(1));
  CHECK(BatchLimit::from_text("1.0") == BatchLimit(1.0));
  CHECK(BatchLimit::from_text("0.25") == BatchLimit(0.25));
  CHECK(BatchLimit(1.0).to_text() == "1.0");
  CHECK(BatchLimit(1).to_text() == "1");
  CHECK_THROWS_AS(BatchLimit::from_text("half"), ConfigError);
}

TEST_CASE("BatchLimit resolves to a number of batches", "[trainer]") {
  CHECK(BatchLimit(0.5).resolve(7, "x") == 3);
  CHECK(BatchLimit(1.0).resolve(7, "x") == 7);
  CHECK(BatchLimit(10).resolve(7, "x") == 7);
  CHECK(BatchLimit(3).resolve(7, "x") == 3);
  CHECK(BatchLimit(3).resolve(std::nullopt, "x") == 3);
  CHECK(BatchLimit(1.0).resolve(std::nullopt, "x") == std::nullopt);
  CHECK_THROWS_WITH(BatchLimit(0.5).resolve(std::nullopt, "limit_train_batches"),
                    Catch::Contains("limit_train_batches") && Catch::Contains("HINT"));
}

TEST_CASE("Devices are auto, a number or a list, in C++ and in YAML", "[trainer]") {
  const auto read = [](const std::string& value) {
    TrainerOptions options;
    lightning::config::apply(lightning::config::parse_yaml("devices: " + value, "test"), options,
                             "trainer");
    const std::string written = lightning::config::to_yaml(lightning::config::to_node(options));
    TrainerOptions again;
    lightning::config::apply(lightning::config::parse_yaml(written, "written"), again, "trainer");
    CHECK(again.devices == options.devices);
    return options.devices;
  };
  CHECK(read("auto") == TrainerOptions{}.devices);
  CHECK(read("2") == Devices(2));
  CHECK(read("-1") == Devices(-1));
  CHECK(read("[0]") == Devices{0});
  CHECK(read("[0, 2]") == (Devices{0, 2}));
  CHECK(read("[ 0,2 ]") == Devices(std::vector<int64_t>{0, 2}));
  CHECK(read("0,2") == (Devices{0, 2}));
  CHECK(read("\"0,\"") == Devices{0});
  CHECK(Devices("0, 2") == (Devices{0, 2}));
  CHECK((Devices{0, 2}).to_text() == "[0, 2]");
  for (const char* value : {"two", "[zero]", "[[0]]", "{a: 1}", "1.5", "0,-1"}) {
    CAPTURE(value);
    CHECK_THROWS_WITH(read(value), Catch::StartsWith("test:1: trainer.devices is \"") &&
                                       Catch::Contains("expected auto, a number of devices"));
  }
}

TEST_CASE("A list of devices reaches the accelerator", "[trainer]") {
  TrainerOptions options;
  options.accelerator = "cpu";
  options.devices = {0};
  CHECK_THROWS_WITH(lightning::resolve(options), Catch::Contains("devices is \"[0]\""));
  options.devices = 1;
  CHECK(lightning::resolve(options).device.is_cpu());
}

TEST_CASE("Trainer options out of range are errors that name them", "[trainer]") {
  struct Case {
    const char* yaml;
    const char* name;
  };
  const Case cases[] = {
      {"max_epochs: -2", "max_epochs"},
      {"max_steps: -5", "max_steps"},
      {"accumulate_grad_batches: 0", "accumulate_grad_batches"},
      {"gradient_clip_val: -1.0", "gradient_clip_val"},
      {"log_every_n_steps: -1", "log_every_n_steps"},
      {"limit_train_batches: 1.5", "limit_train_batches"},
      {"limit_val_batches: -1", "limit_val_batches"},
      {"val_check_interval: 1.5", "val_check_interval"},
      {"check_val_every_n_epoch: 0", "check_val_every_n_epoch"},
      {"check_val_every_n_epoch: null", "val_check_interval"},
      {"num_sanity_val_steps: -2", "num_sanity_val_steps"},
      {"overfit_batches: 1.5", "overfit_batches"},
      {"overfit_batches: -1", "overfit_batches"},
      {"reload_dataloaders_every_n_epochs: -1", "reload_dataloaders_every_n_epochs"},
      {"num_nodes: 0", "num_nodes"},
      {"num_nodes: 2", "num_nodes"},
      {"devices: 0", "devices"},
      {"accelerator: tpu", "tpu"},
      {"limit_train_batches: 1e3", "limit_train_batches is 1000.0"},
      {"limit_val_batches: 9223372036854775808", "limit_val_batches"},
      {"num_nodes: 9223372036854775807", "num_nodes is 9223372036854775807"},
      {"devices: 9223372036854775807", "devices is \"9223372036854775807\""},
      {"connect_timeout: 40000d", "connect_timeout"},
      {"collective_timeout: 40000d", "collective_timeout"},
      {"heartbeat_timeout: 40000d", "heartbeat_timeout"},
      {"max_time: 40000d", "max_time"},
      {"slurm: {stop_before_end: 40000d}", "slurm.stop_before_end"},
  };
  for (const Case& c : cases) {
    TrainerOptions options;
    options.accelerator = "cpu";
    lightning::config::apply(lightning::config::parse_yaml(c.yaml, "test"), options, "trainer");
    INFO(c.yaml);
    CHECK_THROWS_WITH(lightning::resolve(options), Catch::Contains(c.name));
  }
}

TEST_CASE("Integers that don't fit are refused where they are read", "[trainer]") {
  for (const char* key : {"max_steps", "log_every_n_steps", "fast_dev_run", "max_epochs"}) {
    for (const char* value : {"9223372036854775808", "1e3", "2.5", "12x"}) {
      CAPTURE(key, value);
      TrainerOptions options;
      CHECK_THROWS_AS(lightning::config::apply(
                          lightning::config::parse_yaml(std::string(key) + ": " + value, "test"),
                          options, "trainer"),
                      ConfigError);
    }
  }
  // A number of 64 bits was cut to 32: 4294967297 became 1.
  CHECK_THROWS_AS(lightning::FastDevRun::from_text("4294967297"), ConfigError);
}

TEST_CASE("A dry run has the ranks that world_size says, or num_nodes times devices", "[trainer]") {
  TrainerOptions options;
  options.accelerator = "cpu";
  options.dry_run = true;
  options.num_nodes = 128;
  CHECK(lightning::resolve(options).world_size == 128);
  options.devices = 8;
  CHECK(lightning::resolve(options).world_size == 1024);
  options.world_size = 256;
  const lightning::ResolvedOptions resolved = lightning::resolve(options);
  CHECK(resolved.world_size == 256);
  CHECK(resolved.topology.num_nodes == 128);
  CHECK(resolved.topology.local_world_size == 2);
  CHECK(resolved.topology.global_rank == 0);
  CHECK_FALSE(resolved.topology.needs_launch);
  CHECK_FALSE(resolved.user.enable_checkpointing);
}

TEST_CASE("A dry run's number of ranks must be possible", "[trainer]") {
  TrainerOptions options;
  options.accelerator = "cpu";
  options.world_size = 4;
  CHECK_THROWS_WITH(lightning::resolve(options),
                    Catch::Contains("world_size is 4 without a dry run") &&
                        Catch::Contains("HINT: add --dry_run"));
  options.dry_run = true;
  options.world_size = 0;
  CHECK_THROWS_WITH(lightning::resolve(options), Catch::Contains("world_size is 0"));
  options.world_size = 1024;
  options.num_nodes = 3;
  CHECK_THROWS_WITH(
      lightning::resolve(options),
      Catch::Contains("num_nodes is 3") && Catch::Contains("HINT: use --world_size 1026"));
  options.num_nodes = 1;
  options.strategy = "single_device";
  CHECK_THROWS_WITH(lightning::resolve(options), Catch::Contains("there are 1024 ranks"));
}

TEST_CASE("max_epochs has Lightning's defaults", "[trainer]") {
  TrainerOptions options;
  options.accelerator = "cpu";
  CHECK(lightning::resolve(options).max_epochs == 1000);
  options.max_steps = 10;
  CHECK(lightning::resolve(options).max_epochs == -1);
  options.max_epochs = 3;
  CHECK(lightning::resolve(options).max_epochs == 3);
}

TEST_CASE("fast_dev_run limits everything and writes nothing", "[trainer]") {
  TrainerOptions options;
  options.accelerator = "cpu";
  options.fast_dev_run = 3;
  options.max_epochs = 100;
  const TrainerOptions resolved = lightning::resolve(options).user;
  CHECK(resolved.limit_train_batches == BatchLimit(3));
  CHECK(resolved.limit_val_batches == BatchLimit(3));
  CHECK(resolved.num_sanity_val_steps == 0);
  CHECK_FALSE(resolved.enable_checkpointing);
  CHECK(lightning::resolve(options).max_epochs == 1);
}

TEST_CASE("A limit that is no number is written as nan and inf", "[trainer]") {
  CHECK(lightning::BatchLimit(std::numeric_limits<double>::quiet_NaN()).to_text() == "nan");
  CHECK(lightning::BatchLimit(std::numeric_limits<double>::infinity()).to_text() == "inf");
}

TEST_CASE("overfit_batches goes before the other limits of fit", "[trainer]") {
  TrainerOptions options;
  options.accelerator = "cpu";
  CHECK_FALSE(lightning::overfits(options));
  options.limit_train_batches = 7;
  options.limit_val_batches = 0.5;
  options.limit_test_batches = 9;
  CHECK(lightning::resolve(options).user.limit_train_batches == BatchLimit(7));
  for (const BatchLimit& batches : {BatchLimit(0.25), BatchLimit(1.0), BatchLimit(3)}) {
    options.overfit_batches = batches;
    for (const int fast : {0, 2}) {
      options.fast_dev_run = fast;
      const TrainerOptions resolved = lightning::resolve(options).user;
      CHECK(lightning::overfits(resolved));
      CHECK(resolved.limit_train_batches == batches);
      CHECK(resolved.limit_val_batches == batches);
      CHECK(resolved.limit_test_batches == (fast > 0 ? BatchLimit(fast) : BatchLimit(9)));
    }
  }
  options.overfit_batches = 0;
  CHECK_FALSE(lightning::overfits(lightning::resolve(options).user));
}

TEST_CASE("barebones switches off what costs time, and refuses what asks for it", "[trainer]") {
  TrainerOptions options;
  options.accelerator = "cpu";
  options.barebones = true;
  const TrainerOptions resolved = lightning::resolve(options).user;
  CHECK_FALSE(resolved.enable_checkpointing);
  CHECK_FALSE(resolved.enable_progress_bar);
  CHECK_FALSE(resolved.enable_model_summary);
  CHECK(resolved.log_every_n_steps == 0);
  CHECK(resolved.num_sanity_val_steps == 0);
  // The saved configuration is itself one that runs.
  CHECK(lightning::resolve(resolved).user.barebones);

  for (const std::string yaml :
       {"fast_dev_run: true", "detect_anomaly: true", "log_every_n_steps: 10",
        "num_sanity_val_steps: -1", "async_checkpointing: true"}) {
    TrainerOptions other = options;
    lightning::config::apply(lightning::config::parse_yaml(yaml, "test"), other, "trainer");
    INFO(yaml);
    CHECK_THROWS_WITH(lightning::resolve(other),
                      Catch::StartsWith("Trainer: barebones is true and " +
                                        yaml.substr(0, yaml.find(':')) + " is ") &&
                          Catch::Contains("HINT"));
  }
}

TEST_CASE("benchmark is true, false or left alone", "[trainer]") {
  const auto read = [](const std::string& value) {
    TrainerOptions options;
    lightning::config::apply(lightning::config::parse_yaml("benchmark: " + value, "test"), options,
                             "trainer");
    return options.benchmark;
  };
  CHECK(read("null") == std::nullopt);
  CHECK(read("true") == true);
  CHECK(read("false") == false);
}

TEST_CASE("deterministic is true, false or warn", "[trainer]") {
  const auto read = [](const std::string& value) {
    TrainerOptions options;
    lightning::config::apply(lightning::config::parse_yaml("deterministic: " + value, "test"),
                             options, "trainer");
    CHECK(lightning::config::to_yaml(lightning::config::to_node(options))
              .find("deterministic: " + value + "\n") != std::string::npos);
    return options.deterministic;
  };
  CHECK(read("true").on());
  CHECK_FALSE(read("true").warns_only());
  CHECK_FALSE(read("false").on());
  CHECK(read("warn").on());
  CHECK(read("warn").warns_only());
  CHECK_THROWS_WITH(read("maybe"), Catch::Contains("trainer.deterministic") &&
                                       Catch::Contains("expected true, false or warn"));
  CHECK(lightning::Deterministic("warn").warns_only());
  CHECK_THROWS_AS(lightning::Deterministic("1"), ConfigError);
}
