#include <lightning/cli/parse_options.h>

#include <lightning/callbacks/registry.h>
#include <lightning/config/class_spec.h>
#include <lightning/config/yaml.h>
#include <lightning/loggers/registry.h>
#include <lightning/profilers/registry.h>

#include "cli_support.h"

using Catch::Contains;
using cli_test::LineOptions;
using lightning_tests::TemporaryFolder;

namespace {

std::optional<LineOptions> parse(std::vector<std::string> arguments) {
  std::vector<const char*> argv = {"build/bin/liner"};
  for (const std::string& argument : arguments) argv.push_back(argument.c_str());
  return lightning::parse_options<LineOptions>(static_cast<int>(argv.size()), argv.data(),
                                               "Draws a line.");
}

std::string parse_error(const std::vector<std::string>& arguments) {
  return cli_test::config_error([&] { parse(arguments); });
}

}  // namespace

TEST_CASE("parse_options takes defaults, files and the command line, the latter over the former") {
  const TemporaryFolder folder;
  const std::string file =
      cli_test::write_file(folder, "a.yaml", "width: 3\nlearning_rate: 0.5\nnote: n\n");
  const auto options = parse({"--config", file, "--learning-rate", "0.25", "--note=null"});
  REQUIRE(options);
  CHECK(options->width == 3);
  CHECK(options->learning_rate == 0.25);
  CHECK(options->title == "line");
  CHECK(!options->note);
  CHECK(parse({})->width == 1);
}

TEST_CASE("parse_options refuses what it doesn't know") {
  CHECK_THAT(parse_error({"--widht", "3"}), Contains("\"--widht\"") && Contains("--width"));
  CHECK_THAT(parse_error({"--width", "wide"}), Contains("width") && Contains("wide"));
  CHECK_THAT(parse_error({"fit", "--width", "3"}), Contains("unexpected argument \"fit\""));
  const TemporaryFolder folder;
  const std::string file = cli_test::write_file(folder, "a.yaml", "titel: x\n");
  CHECK_THAT(parse_error({"--config", file}), Contains("a.yaml:1") && Contains("title"));
}

TEST_CASE("parse_options prints help and config and leaves nothing to do") {
  std::string text = cli_test::captured(STDOUT_FILENO, [] { CHECK(!parse({"--help"})); });
  CHECK_THAT(text, Contains("usage: liner [--config FILE]") && Contains("Draws a line.") &&
                       Contains("--width") && Contains("outputs"));
  text = cli_test::captured(STDOUT_FILENO, [] {
    CHECK(!parse({"--width", "4", "--print_config"}));
  });
  CHECK_THAT(text, Contains("width: 4") && Contains("title: line"));
}

namespace {

/// A kind of class that the library knows nothing of.
struct Augmentation {
  virtual ~Augmentation() = default;
  virtual std::string text() const = 0;
};

lightning::config::Registry<Augmentation>& augmentation_registry();
using AugmentationSpec = lightning::config::SpecOf<augmentation_registry>;

struct CropOptions {
  int64_t size = 24;
  std::string label = "crop";
};
LIGHTNING_FIELDS(CropOptions, LIGHTNING_FIELD(size, "pixels"), LIGHTNING_FIELD(label, "any text"));

class Crop : public Augmentation {
 public:
  explicit Crop(const CropOptions& options) : options_(options) {}
  std::string text() const override { return options_.label + std::to_string(options_.size); }

 private:
  CropOptions options_;
};

struct TwiceOptions {
  AugmentationSpec of = "crop";
};
LIGHTNING_FIELDS(TwiceOptions, LIGHTNING_FIELD(of, "what is done twice"));

class Twice : public Augmentation {
 public:
  explicit Twice(const TwiceOptions& options) : text_(options.of.create()->text()) {}
  std::string text() const override { return text_ + " " + text_; }

 private:
  std::string text_;
};

lightning::config::Registry<Augmentation>& augmentation_registry() {
  static auto registry = [] {
    lightning::config::Registry<Augmentation> made("augmentation");
    made.add<Crop, CropOptions>("crop", "cuts a square");
    made.add<Twice, TwiceOptions>("twice", "does another one twice");
    return made;
  }();
  return registry;
}

struct Pipeline {
  AugmentationSpec augmentation = "{class_path: crop, init_args: {size: 8}}";
  std::vector<AugmentationSpec> more = {};
};
LIGHTNING_FIELDS(Pipeline, LIGHTNING_FIELD(augmentation, "the first"),
                 LIGHTNING_FIELD(more, "those after it"));

struct ImagesOptions {
  Pipeline train = {};
  std::vector<Pipeline> stages = {};
};
LIGHTNING_FIELDS(ImagesOptions, LIGHTNING_FIELD(train, "for training"),
                 LIGHTNING_FIELD(stages, "others"));

std::optional<ImagesOptions> images(const std::vector<std::string>& arguments) {
  std::vector<const char*> argv = {"images"};
  for (const std::string& argument : arguments) argv.push_back(argument.c_str());
  return lightning::parse_options<ImagesOptions>(static_cast<int>(argv.size()), argv.data(), "");
}

std::string trained(const std::vector<std::string>& arguments) {
  return images(arguments)->train.augmentation.create()->text();
}

}  // namespace

TEST_CASE("the command line reaches into classes of the program's own kinds") {
  CHECK(trained({}) == "crop8");
  CHECK(trained({"--train.augmentation.init_args.size", "9"}) == "crop9");
  CHECK(trained({"--train.augmentation.init_args.label", "[not a list"}) == "[not a list8");
  CHECK(trained({"--train.augmentation", "twice"}) == "crop24 crop24");
  CHECK(trained({"--train.augmentation.class_path=twice"}) == "crop24 crop24");
  CHECK(trained({"--train.augmentation=twice", "--train.augmentation.init_args.of.init_args.size=3",
                 "--train.augmentation.init_args.of.init_args.label={"}) == "{3 {3");
  CHECK(trained({"--train.augmentation={class_path: crop, init_args: {size: 5}}",
                 "--train.augmentation=crop"}) == "crop5");
  const auto options =
      images({"--train.more=[crop, twice]", "--train.more.0.init_args.label=null",
              "--stages=[{augmentation: crop}]", "--stages.0.augmentation.init_args.size=7"});
  CHECK(options->train.more[0].create()->text() == "null24");
  CHECK(options->stages[0].augmentation.create()->text() == "crop7");
}

TEST_CASE("mistakes in classes on the command line and in files are named where they are") {
  const auto error = [](const std::vector<std::string>& arguments) {
    return cli_test::config_error([&] { images(arguments); });
  };
  CHECK(error({"--train.augmentation", "corp"}) ==
        "command line (--train.augmentation): unknown augmentation \"corp\" in "
        "train.augmentation, expected one of crop, twice. HINT: did you mean \"crop\"?");
  CHECK(error({"--train.augmentation.init_args.sise", "3"}) ==
        "command line (--train.augmentation.init_args.sise): unknown key "
        "\"train.augmentation.init_args.sise\". HINT: did you mean "
        "\"train.augmentation.init_args.size\"?");
  CHECK(error({"--train.augmentation.init_args.size", "big"}) ==
        "command line (--train.augmentation.init_args.size): train.augmentation.init_args.size is "
        "\"big\", expected an integer.");
  const TemporaryFolder folder;
  const std::string file =
      cli_test::write_file(folder, "a.yaml",
                           "train:\n  more:\n  - twice\n  - class_path: twice\n    init_args:\n"
                           "      of: {class_path: crop, init_args: {sise: 3}}\n");
  CHECK(error({"--config", file}) ==
        file +
            ":6: unknown key \"train.more.1.init_args.of.init_args.sise\". HINT: did you mean "
            "\"train.more.1.init_args.of.init_args.size\"?");
}

TEST_CASE("help lists the classes of the program's own kinds, print_config all their init_args") {
  const std::string help = cli_test::captured(STDOUT_FILENO, [] { CHECK(!images({"--help"})); });
  INFO(help);
  CHECK_THAT(help, Contains("--train.augmentation ") &&
                       Contains("{class_path: crop, init_args: {size: 8}}"));
  CHECK_THAT(help, Contains("\nClasses for train.augmentation, twice.of, train.more, stages ("));
  CHECK_THAT(help, Contains("  twice: does another one twice\n    of "));
  CHECK(help.find("  crop: cuts a square") == help.rfind("  crop: cuts a square"));

  const std::vector<std::string> arguments = {"--train.augmentation=twice", "--train.more=[crop]"};
  const auto printed = [](std::vector<std::string> all) {
    all.push_back("--print_config");
    return cli_test::captured(STDOUT_FILENO, [&] { CHECK(!images(all)); });
  };
  const std::string config = printed(arguments);
  CHECK(config ==
        "train:\n  augmentation:\n    class_path: twice\n    init_args:\n      of:\n"
        "        class_path: crop\n        init_args:\n          size: 24\n          label: crop\n"
        "  more:\n    - class_path: crop\n      init_args:\n        size: 24\n        label: crop\n"
        "stages: []\n");
  const TemporaryFolder folder;
  CHECK(printed({"--config", cli_test::write_file(folder, "a.yaml", config)}) == config);
}

TEST_CASE("every kind of class resolves, refuses and names its classes by the same rules") {
  using lightning::config::ConfigNode;
  using lightning::config::parse_yaml;
  const lightning::config::RegistryBase* kinds[] = {
      &lightning::callback_registry(), &lightning::logger_registry(),
      &lightning::profiler_registry(), &augmentation_registry()};
  for (const auto* registry : kinds) {
    INFO(registry->kind());
    CHECK_THAT(cli_test::config_error(
                   [&] { registry->resolve(parse_yaml("nothing_like_it", "a.yaml"), "key"); }),
               Contains("a.yaml:1: unknown " + registry->kind() + " \"nothing_like_it\" in key"));
    for (const auto& entry : registry->entries()) {
      INFO(entry.name);
      const ConfigNode resolved = registry->resolve(ConfigNode::scalar(entry.name), "key");
      CHECK(resolved.find("class_path")->text() == entry.name);
      CHECK(resolved ==
            registry->resolve(parse_yaml("{class_path: some.package." + entry.name + "}", "a"),
                              "key"));
      CHECK(resolved ==
            registry->resolve(parse_yaml(lightning::config::to_yaml(resolved), "a"), "key"));
      for (const auto& info : entry.init_args()) {
        INFO(info.key);
        if (info.key.find('.') != std::string::npos) continue;
        CHECK(!info.help.empty());
        CHECK(resolved.find("init_args")->find_path(info.key) != nullptr);
        const std::string wrong =
            "{class_path: " + entry.name + ", init_args: {" + info.key + "x: 1}}";
        CHECK_THAT(
            cli_test::config_error([&] { registry->resolve(parse_yaml(wrong, "a"), "key"); }),
            Contains("a:1: unknown key \"key.init_args." + info.key + "x\". HINT: did you mean"));
      }
    }
  }
}
