#include <lightning/config/options.h>

#include <limits>

#include <lightning/config/yaml.h>

#include "support.h"
#include "test_options.h"

using namespace lightning::config;
using my_project::Everything;
using my_project::Layer;
using my_project::Mode;

namespace {

struct Numbers {
  double number = 0.0;
  float single = 0.0f;
  int64_t integer = 0;
  uint8_t byte = 0;
  bool flag = false;
  std::chrono::seconds seconds = std::chrono::seconds(0);
};
LIGHTNING_FIELDS(Numbers, LIGHTNING_FIELD(number, ""), LIGHTNING_FIELD(single, ""),
                 LIGHTNING_FIELD(integer, ""), LIGHTNING_FIELD(byte, ""), LIGHTNING_FIELD(flag, ""),
                 LIGHTNING_FIELD(seconds, ""));

struct Required {
  std::string monitor;
  int64_t patience = 3;
};
LIGHTNING_FIELDS(Required, LIGHTNING_FIELD(monitor, "metric"), LIGHTNING_FIELD(patience, "rounds"));

template <typename T>
T read(std::string_view text, T options = {}, std::string_view path = "") {
  apply(parse_yaml(text, "a.yaml"), options, path);
  return options;
}

std::string read_error(std::string_view text) {
  return config_error([&] { read<Everything>(text, {}, "model"); });
}

}  // namespace

TEST_CASE("to_node writes every field in the order of the list") {
  CHECK(to_yaml(to_node(Everything{})) ==
        "flag: false\n"
        "tiny: 1\n"
        "small_count: 2\n"
        "count: 3\n"
        "huge: 4\n"
        "ratio: 0.1\n"
        "rate: 3.0e-05\n"
        "name: plain\n"
        "folder: data/squad\n"
        "mode: min\n"
        "limit: null\n"
        "label: null\n"
        "words: []\n"
        "layers: []\n"
        "head:\n"
        "  width: 64\n"
        "  betas: [0.9, 0.999]\n"
        "tail: null\n"
        "max_time: 2h\n"
        "pause: 1500ms\n"
        "grid: 1x1\n");
}

TEST_CASE("apply gives back what to_node wrote") {
  Everything options;
  options.flag = true;
  options.tiny = -128;
  options.small_count = 65535;
  options.count = std::numeric_limits<int64_t>::min();
  options.huge = std::numeric_limits<uint64_t>::max();
  options.ratio = 1.0f / 3.0f;
  options.rate = 0.1 + 0.2;
  options.name = "true";
  options.folder = "with space/and: colon";
  options.mode = Mode::kMax;
  options.limit = 0;
  options.label = "null";
  options.words = {"", "12", "a b", "#", "[x]"};
  options.layers = {{.width = 1}, {.width = 2, .betas = {}}};
  options.head.betas = {1e300, -0.0, 5e-324};
  options.tail = Layer{.width = 7};
  options.max_time = std::chrono::seconds(90);
  options.pause = std::chrono::milliseconds(7);
  options.grid = {3, 4};
  const std::string text = to_yaml(to_node(options));
  INFO(text);
  CHECK(read<Everything>(text) == options);
  CHECK(to_yaml(to_node(read<Everything>(text))) == text);
}

TEST_CASE("apply leaves fields alone that the node doesn't name") {
  Everything before;
  before.count = 42;
  before.head.width = 5;
  const Everything after = read<Everything>("head: {betas: [0.5]}\nrate: 1", before);
  CHECK(after.count == 42);
  CHECK(after.head.width == 5);
  CHECK(after.head.betas == std::vector<double>{0.5});
  CHECK(after.rate == 1.0);
  CHECK(read<Everything>("", before) == before);
  CHECK(read<Everything>("head:", before) == before);
}

TEST_CASE("apply reads numbers in their usual forms") {
  CHECK(read<Numbers>("number: 16").number == 16.0);
  CHECK(read<Numbers>("number: 1e-4").number == 1e-4);
  CHECK(read<Numbers>("number: +.5").number == 0.5);
  CHECK(read<Numbers>("number: -.inf").number == -std::numeric_limits<double>::infinity());
  CHECK(std::isnan(read<Numbers>("number: .nan").number));
  CHECK(read<Numbers>("integer: -7").integer == -7);
  CHECK(read<Numbers>("integer: +7").integer == 7);
  CHECK(read<Numbers>("byte: 255").byte == 255);
  CHECK(read<Numbers>("seconds: 01:02:03:04").seconds.count() == 86400 + 2 * 3600 + 3 * 60 + 4);
}

TEST_CASE("apply never changes a type silently") {
  const std::pair<const char*, const char*> cases[] = {
      {"integer: 1.5", "a.yaml:1: integer is \"1.5\", expected an integer."},
      {"integer: 1e3", "a.yaml:1: integer is \"1e3\", expected an integer. HINT: write 1000."},
      {"integer: 2.0", "a.yaml:1: integer is \"2.0\", expected an integer. HINT: write 2."},
      {"integer: 0x10", "a.yaml:1: integer is \"0x10\", expected an integer."},
      {"integer: 12 ms", "a.yaml:1: integer is \"12 ms\", expected an integer."},
      {"integer: '12'",
       "a.yaml:1: integer is the quoted string \"12\", expected an integer. HINT: remove the "
       "quotes."},
      {"integer: true", "a.yaml:1: integer is \"true\", expected an integer."},
      {"integer: null", "a.yaml:1: integer is null, expected an integer."},
      {"integer: [1]", "a.yaml:1: integer is a list, expected an integer."},
      {"integer: 9223372036854775808",
       "a.yaml:1: integer is \"9223372036854775808\", expected an integer from "
       "-9223372036854775808 to 9223372036854775807."},
      {"byte: 256", "a.yaml:1: byte is \"256\", expected an integer from 0 to 255."},
      {"byte: -1", "a.yaml:1: byte is \"-1\", expected an integer from 0 to 255."},
      {"number: abc", "a.yaml:1: number is \"abc\", expected a number."},
      {"number: 1,5", "a.yaml:1: number is \"1,5\", expected a number."},
      {"number: 0x1p3", "a.yaml:1: number is \"0x1p3\", expected a number."},
      {"number: 1e999",
       "a.yaml:1: number is \"1e999\", expected a number that fits in 64-bit floating point."},
      {"single: 1e39",
       "a.yaml:1: single is \"1e39\", expected a number that fits in 32-bit floating point."},
      {"flag: yes", "a.yaml:1: flag is \"yes\", expected true or false. HINT: write true."},
      {"flag: 0", "a.yaml:1: flag is \"0\", expected true or false. HINT: write false."},
      {"flag: True", "a.yaml:1: flag is \"True\", expected true or false. HINT: write true."},
      {"flag: maybe", "a.yaml:1: flag is \"maybe\", expected true or false."},
      {"seconds: 90",
       "a.yaml:1: seconds is \"90\", expected a duration such as 90s, 15min, 2h or DD:HH:MM:SS."},
      {"seconds: 1500ms", "a.yaml:1: seconds is \"1500ms\", expected a whole number of 1s units."},
  };
  for (const auto& [text, message] : cases) {
    INFO(text);
    CHECK(config_error([&, t = text] { read<Numbers>(t); }) == message);
  }
}

TEST_CASE("apply says what it expected of enums, lists, maps and types with a text form") {
  CHECK(read_error("mode: mini") ==
        "a.yaml:1: model.mode is \"mini\", expected \"min\" or \"max\". HINT: did you mean "
        "\"min\"?");
  CHECK(read_error("mode: [min]") ==
        "a.yaml:1: model.mode is a list, expected \"min\" or \"max\".");
  CHECK(read_error("words: one") ==
        "a.yaml:1: model.words is \"one\", expected a list of string. HINT: write [one].");
  CHECK(read_error("words: [a, [b]]") == "a.yaml:1: model.words.1 is a list, expected a string.");
  CHECK(read_error("name: null") ==
        "a.yaml:1: model.name is null, expected a string. HINT: write \"null\" in quotes for that "
        "word.");
  CHECK(read_error("head: 3") == "a.yaml:1: model.head is \"3\", expected a map of keys.");
  CHECK(read_error("layers: [{width: 1}, {width: x}]") ==
        "a.yaml:1: model.layers.1.width is \"x\", expected an integer.");
  CHECK(read_error("grid: 3by4") ==
        "a.yaml:1: model.grid is \"3by4\", expected ROWSxCOLUMNS (3x4).");
  CHECK(read_error("limit: many") == "a.yaml:1: model.limit is \"many\", expected an integer.");
  CHECK(read_error("- 1") == "a.yaml:1: model is a list, expected a map of keys.");
}

TEST_CASE("apply accepts aliases of enum values and writes the first name") {
  const Everything options = read<Everything>("mode: largest");
  CHECK(options.mode == Mode::kMax);
  CHECK(to_node(options).find("mode")->text() == "max");
}

TEST_CASE("apply reads null and values of optional fields") {
  Everything options;
  options.limit = 3;
  options.tail = Layer{};
  options = read<Everything>("limit: null\ntail: null\nlabel: null", options);
  CHECK_FALSE(options.limit.has_value());
  CHECK_FALSE(options.tail.has_value());
  CHECK_FALSE(options.label.has_value());
  options = read<Everything>("limit: 0\ntail: {width: 9}\nlabel: \"null\"", options);
  CHECK(options.limit == 0);
  CHECK(options.tail->width == 9);
  CHECK(options.label == "null");
}

TEST_CASE("apply names unknown keys by file, line and whole path, with the nearest one") {
  CHECK(read_error("flag: true\nmodee: min") ==
        "a.yaml:2: unknown key \"model.modee\". HINT: did you mean \"model.mode\"?");
  CHECK(read_error("head:\n  widht: 3") ==
        "a.yaml:2: unknown key \"model.head.widht\". HINT: did you mean \"model.head.width\"?");
  CHECK(read_error("head: {zzz: 1}") ==
        "a.yaml:1: unknown key \"model.head.zzz\". HINT: the keys of model.head are width, betas.");
  CHECK(config_error([] { read<Required>("zzz: 1"); }) ==
        "a.yaml:1: unknown key \"zzz\". HINT: the keys are monitor, patience.");
}

TEST_CASE("to_node writes floating point so that every YAML reader sees a number") {
  const auto text = [](double value) {
    return to_node(Numbers{.number = value}).find("number")->text();
  };
  CHECK(text(16) == "16.0");
  CHECK(text(1e20) == "1.0e+20");
  CHECK(text(3e-5) == "3.0e-05");
  CHECK(text(0.1) == "0.1");
  CHECK(text(-0.0) == "-0.0");
  CHECK(text(-std::numeric_limits<double>::infinity()) == "-.inf");
  CHECK(to_node(Numbers{.single = 0.1f}).find("single")->text() == "0.1");
}

TEST_CASE("describe lists every key with type, default and help") {
  const auto keys = describe(Everything{}, "model");
  const auto find = [&](std::string_view key) {
    for (const KeyInfo& info : keys) {
      if (info.key == key) return info;
    }
    FAIL("no key " << key);
    return KeyInfo{};
  };
  CHECK(keys.size() == 20);  // 19 fields, of which head has two
  CHECK(keys.front().key == "model.flag");
  CHECK(find("model.rate").type == "number");
  CHECK(find("model.rate").default_value == "3.0e-05");
  CHECK(find("model.rate").help == "a rate");
  CHECK(find("model.mode").type == "min|max");
  CHECK(find("model.limit").type == "integer or null");
  CHECK(find("model.limit").is_optional);
  CHECK(find("model.limit").default_value == "null");
  CHECK(find("model.label").is_text);
  CHECK(find("model.words").type == "list of string");
  CHECK(find("model.head.width").default_value == "64");
  CHECK(find("model.tail").type == "map or null");
  CHECK(find("model.max_time").type == "duration");
  CHECK(find("model.grid").type == "ROWSxCOLUMNS");
  CHECK(find("model.folder").type == "path");
  CHECK_FALSE(find("model.mode").is_text);
}

TEST_CASE("describe shows the values of the options it is given as defaults") {
  const auto keys = describe(Required{.monitor = "val_loss", .patience = 7});
  REQUIRE(keys.size() == 2);
  CHECK(keys[0].key == "monitor");
  CHECK(keys[0].default_value == "val_loss");
  CHECK(keys[1].default_value == "7");
}
