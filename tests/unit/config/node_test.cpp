#include <lightning/config/node.h>

#include <lightning/config/yaml.h>

#include "support.h"

using namespace lightning::config;

namespace {

ConfigNode yaml(std::string_view text) { return parse_yaml(text, "test.yaml"); }

}  // namespace

TEST_CASE("ConfigNode finds nodes by dotted path, through lists too") {
  const ConfigNode node = yaml("a: {b: [{c: 1}, {c: 2}]}");
  REQUIRE(node.find_path("a.b.1.c") != nullptr);
  CHECK(node.find_path("a.b.1.c")->text() == "2");
  CHECK(node.find_path("a.b.2.c") == nullptr);
  CHECK(node.find_path("a.b.x") == nullptr);
  CHECK(node.find_path("a.z") == nullptr);
}

TEST_CASE("ConfigNode gives what a temporary holds by value") {
  std::string keys;
  for (const auto& [key, value] : yaml("{first: [1, 2], second: 3}").entries()) keys += key + " ";
  CHECK(keys == "first second ");
  std::string texts;
  for (const ConfigNode& item : yaml("[one, two]").items()) texts += item.text() + " ";
  CHECK(texts == "one two ");
  const std::string& text = yaml("a string that is too long to be stored in place").text();
  CHECK(text == "a string that is too long to be stored in place");

  const ConfigNode node = yaml("[1]");
  CHECK(&node.items() == &node.items());
  ConfigNode changed = node;
  changed.items().push_back(ConfigNode::scalar("2"));
  CHECK(changed == yaml("[1, 2]"));
}

TEST_CASE("ConfigNode sets nodes by dotted path and creates maps on the way") {
  ConfigNode node;
  node.set_path("trainer.max_epochs", ConfigNode::scalar("2"));
  node.set_path("trainer.precision", ConfigNode::scalar("16"));
  CHECK(to_yaml(node) == "trainer:\n  max_epochs: 2\n  precision: 16\n");

  ConfigNode list = yaml("callbacks: [{init_args: {patience: 3}}, {}]");
  list.set_path("callbacks.0.init_args.patience", ConfigNode::scalar("5"));
  list.set_path("callbacks.1.class_path", ConfigNode::scalar("X"));
  CHECK(list == yaml("callbacks: [{init_args: {patience: 5}}, {class_path: X}]"));
}

TEST_CASE("ConfigNode refuses paths that lead through a scalar or past a list") {
  ConfigNode node = yaml("a: 1\nb: [1, 2]");
  const Source source{"command line (--x)", 0};
  CHECK(config_error([&] { node.set_path("a.c", ConfigNode::scalar("1", source)); }) ==
        "command line (--x): can't set \"a.c\" because \"a\" is \"1\", expected a map");
  CHECK(config_error([&] { node.set_path("b.2", ConfigNode::scalar("1", source)); }) ==
        "command line (--x): \"b.2\" leads into a list of 2 items, expected an index below 2 "
        "instead of \"2\"");
  CHECK(config_error([&] {
          node.set_path("b.-1", ConfigNode::scalar("1", source));
        }).find("instead of \"-1\"") != std::string::npos);
}

TEST_CASE("ConfigNode merges maps key by key and replaces everything else") {
  ConfigNode node = yaml("a: {x: 1, y: 2}\nb: [1, 2]\nc: 3");
  node.merge(yaml("a: {y: 5, z: 6}\nb: [9]\nc: {d: 1}\ne: null"));
  CHECK(node == yaml("a: {x: 1, y: 5, z: 6}\nb: [9]\nc: {d: 1}\ne: null"));
}

TEST_CASE("ConfigNode drops the arguments of a class that another class replaces") {
  ConfigNode node = yaml("logger: {class_path: CSVLogger, init_args: {flush: 1, name: a}}");
  node.merge(yaml("logger: {class_path: CSVLogger, init_args: {name: b}}"));
  CHECK(node == yaml("logger: {class_path: CSVLogger, init_args: {flush: 1, name: b}}"));
  node.merge(yaml("logger: {class_path: TensorBoardLogger, init_args: {dir: c}}"));
  CHECK(node == yaml("logger: {class_path: TensorBoardLogger, init_args: {dir: c}}"));
}

TEST_CASE("ConfigNode takes an entry out of a map") {
  ConfigNode node = yaml("a: 1\nb: 2");
  CHECK(node.take("a").text() == "1");
  CHECK(node.take("a").is_null());
  CHECK(node == yaml("b: 2"));
}

TEST_CASE("Source names file and line, or says that it knows none") {
  CHECK(Source{"a.yaml", 14}.to_string() == "a.yaml:14");
  CHECK(Source{"command line (--x)", 0}.to_string() == "command line (--x)");
  CHECK(Source{}.to_string() == "config");
}
