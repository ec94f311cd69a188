#include <lightning/config/yaml.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "support.h"

using namespace lightning::config;

namespace {

ConfigNode yaml(std::string_view text) { return parse_yaml(text, "test.yaml"); }

std::string yaml_error(std::string_view text) {
  return config_error([&] { yaml(text); });
}

/// The golden file that yaml_types.py makes with PyYAML: a type's name, a tab, the text.
std::vector<std::pair<std::string, std::string>> pyyaml_types() {
  std::ifstream file("tests/unit/config/golden/yaml_types.txt");
  REQUIRE(file.is_open());
  std::vector<std::pair<std::string, std::string>> rows;
  std::string line;
  while (std::getline(file, line)) {
    const size_t tab = line.find('\t');
    rows.emplace_back(line.substr(0, tab), line.substr(tab + 1));
  }
  return rows;
}

}  // namespace

TEST_CASE("parse_yaml keeps kinds, quotes and lines") {
  const ConfigNode node = yaml("# comment\na: 1\nb:\n  - x\n  - 'y'\nc: {d: null, e: ~}\nf:\n");
  CHECK(node.find("a")->text() == "1");
  CHECK_FALSE(node.find("a")->quoted());
  CHECK(node.find("a")->source().to_string() == "test.yaml:2");
  CHECK(node.find("b")->source().to_string() == "test.yaml:3");
  CHECK(node.find("b")->items().at(1).quoted());
  CHECK(node.find("b")->items().at(1).source().to_string() == "test.yaml:5");
  CHECK(node.find_path("c.d")->is_null());
  CHECK(node.find_path("c.e")->is_null());
  CHECK(node.find("f")->is_null());
}

TEST_CASE("parse_yaml reads empty text and comments alone as null") {
  CHECK(yaml("").is_null());
  CHECK(yaml("# nothing here\n").is_null());
}

TEST_CASE("parse_yaml takes Windows line ends, a byte order mark and text beyond ASCII") {
  CHECK(yaml("a: 1\r\nb: 2\r\n") == yaml("a: 1\nb: 2\n"));
  CHECK(yaml("\xEF\xBB\xBF"
             "a: 1\n") == yaml("a: 1\n"));
  CHECK(yaml("a: \"Zürich 東京\"").find("a")->text() == "Zürich 東京");
}

TEST_CASE("parse_yaml refuses what a config must not contain, with place and hint") {
  CHECK(yaml_error("a: 1\nb: 2\na: 3\n") ==
        "test.yaml:3:1: key \"a\" appears twice in the same map. HINT: remove one of the two.");
  CHECK(
      yaml_error("a: &x 1\nb: *x\n") ==
      "test.yaml:1:4: anchor \"&x\" found, anchors and aliases are not supported. HINT: write the "
      "values out where they are used.");
  CHECK(yaml_error("a: !!int 1\n") ==
        "test.yaml:1:4: tag \"tag:yaml.org,2002:int\" found, tags are not supported. HINT: remove "
        "it.");
  CHECK(yaml_error("a: !mine {b: 1}\n").find("tags are not supported") != std::string::npos);
  CHECK(yaml_error("a: 1\n---\nb: 2\n") ==
        "test.yaml:3:1: the document is over before this, expected nothing more. HINT: check the "
        "indentation; a file holds one document.");
  CHECK(yaml_error("- a\nb: 1\n").find("test.yaml:2:1: the document is over before this") == 0);
  CHECK(yaml_error("? [a, b]\n: 1\n") ==
        "test.yaml:1:3: the key is a list, expected text. HINT: quote the key.");
  CHECK(yaml_error("~: 1\n") ==
        "test.yaml:1:1: the key is empty or null, expected text. HINT: quote the key.");
}

TEST_CASE("parse_yaml shows syntax errors with line and column") {
  CHECK(yaml_error("a: 1\nb: c: d\n") ==
        "test.yaml:2:5: not valid YAML (illegal map value). HINT: check indentation, brackets and "
        "quotes here and on the line before.");
  for (const char* broken : {"a: [1, 2", "a: {b: 1", "a: \"open", "a:\n\t- 1\n", "a: 1\n  b: 2\n",
                             "a: @x", "%YAML 9.9\n---\na: 1"}) {
    INFO(broken);
    CHECK(yaml_error(broken).find("test.yaml:") == 0);
    CHECK(yaml_error(broken).find("not valid YAML (") != std::string::npos);
  }
}

TEST_CASE("load_yaml_file names the file it can't read") {
  CHECK(
      config_error([] { load_yaml_file("/nonexistent/a.yaml"); }) ==
      "config file /nonexistent/a.yaml can't be read (No such file or directory), expected a YAML "
      "file. HINT: check the path given to --config.");
  CHECK(config_error([] { load_yaml_file("/tmp"); }) ==
        "config file /tmp is a folder, expected a YAML file");
}

TEST_CASE("load_yaml_file reads files, empty ones too") {
  const auto path = std::filesystem::temp_directory_path() / "lightning_yaml_test.yaml";
  std::ofstream(path) << "a: 1\n";
  CHECK(load_yaml_file(path).find("a")->source().to_string() == path.string() + ":1");
  std::ofstream(path, std::ios::trunc).flush();
  CHECK(load_yaml_file(path).is_null());
  std::filesystem::remove(path);
}

TEST_CASE("to_yaml writes blocks, short lists on one line, and comments") {
  ConfigNode node = yaml("a: 1\nb: {c: [1, 2], d: [{e: 1, f: 2}, {e: 3}], g: {}, h: []}\ni: null");
  node.find("b")->set_comment("about b\nin two lines");
  node.find_path("b.d");
  CHECK(to_yaml(node) ==
        "a: 1\n"
        "# about b\n"
        "# in two lines\n"
        "b:\n"
        "  c: [1, 2]\n"
        "  d:\n"
        "    - e: 1\n"
        "      f: 2\n"
        "    - e: 3\n"
        "  g: {}\n"
        "  h: []\n"
        "i: null\n");
  CHECK(yaml(to_yaml(node)) == node);
}

TEST_CASE("to_yaml writes comments of list items and of entries behind a dash") {
  ConfigNode node = yaml("a: [{b: 1}, 2]");
  node.find("a")->items().at(0).find("b")->set_comment("on b");
  node.find("a")->items().at(1).set_comment("on 2");
  CHECK(to_yaml(node) == "a:\n  -\n    # on b\n    b: 1\n  # on 2\n  - 2\n");
  CHECK(yaml(to_yaml(node)) == node);
}

TEST_CASE("to_yaml gives every string back as it was") {
  const std::string texts[] = {"",
                               " ",
                               "a b",
                               " a",
                               "a ",
                               "a: b",
                               "a:b",
                               "a #b",
                               "a#b",
                               "#a",
                               "- a",
                               "-",
                               "-a",
                               "--a",
                               "? a",
                               "?a",
                               "[a]",
                               "{a}",
                               "a,b",
                               "\"a\"",
                               "'a'",
                               "a\\b",
                               "a\nb",
                               "a\tb",
                               "null",
                               "~",
                               "true",
                               "12",
                               "1e5",
                               ".5",
                               "@a",
                               "`a",
                               "%a",
                               "!a",
                               "&a",
                               "*a",
                               "|",
                               ">",
                               "a:",
                               ":a",
                               ": a",
                               "=",
                               "<<",
                               "---",
                               "...",
                               "2024-01-01",
                               "0x1F",
                               "1_000",
                               "ü",
                               "\xC2\x85x",
                               "a\rb",
                               std::string("a\0b", 3),
                               "\xE2\x80\xA8",
                               "{epoch}-{step}",
                               "a]",
                               "東京",
                               "\x7F",
                               "12:30:45",
                               "a?",
                               "a?b"};
  for (const std::string& text : texts) {
    INFO("text: " << text);
    ConfigNode scalar = ConfigNode::scalar(text);
    scalar.set_quoted(reads_as_other_type(text));
    // As a value, a key, in a list that stays on the line, and in nested blocks.
    ConfigNode node = ConfigNode::map();
    node.set("value", scalar);
    node.set("list", ConfigNode::list({scalar, scalar}));
    node.set("maps", ConfigNode::list({ConfigNode::map({{text, scalar}, {"other", scalar}})}));
    const ConfigNode back = yaml(to_yaml(node));
    CHECK(back.find("value")->text() == text);
    CHECK_FALSE(back.find("value")->is_null());
    CHECK(back.find_path("list.1")->text() == text);
    REQUIRE(back.find_path("maps.0")->entries().size() == 2);
    CHECK(back.find_path("maps.0")->entries()[0].first == text);
    CHECK(back.find_path("maps.0")->entries()[0].second.text() == text);
    CHECK(yaml(to_flow_yaml(node)).find("value")->text() == text);
  }
}

TEST_CASE("to_yaml breaks long lists over lines") {
  ConfigNode list = ConfigNode::list();
  for (int i = 0; i < 60; ++i) list.items().push_back(ConfigNode::scalar(std::to_string(i)));
  ConfigNode node = ConfigNode::map({{"long", list}});
  CHECK(to_yaml(node).find("long:\n  - 0\n  - 1\n") == 0);
  CHECK(yaml(to_yaml(node)) == node);
}

TEST_CASE("to_yaml writes lists of lists") {
  const ConfigNode node = yaml("a: [[1, 2], [3, [4]], []]");
  CHECK(yaml(to_yaml(node)) == node);
  CHECK(yaml("- - 1\n  - 2\n- 3\n") == yaml(to_yaml(yaml("[[1, 2], 3]"))));
}

TEST_CASE("to_yaml quotes what PyYAML would read as another type than string") {
  const auto rows = pyyaml_types();
  REQUIRE(rows.size() > 100);
  for (const auto& [type, text] : rows) {
    INFO(type << ": " << text);
    if (type != "str") CHECK(reads_as_other_type(text));
  }
  // And leaves alone what is plainly text.
  for (const char* text : {"16-mixed", "2h", "bf16", "val_loss", "data/squad", "a.b", "v1.2"}) {
    CHECK_FALSE(reads_as_other_type(text));
  }
}
