#include <lightning/config/registry.h>

#include <lightning/config/yaml.h>

#include "support.h"

using namespace lightning::config;

namespace my_shapes {

struct Shape {
  virtual ~Shape() = default;
  virtual double area() const = 0;
};

struct RectangleOptions {
  double width = 1.0;
  double height = 2.0;
};
LIGHTNING_FIELDS(RectangleOptions, LIGHTNING_FIELD(width, "across"),
                 LIGHTNING_FIELD(height, "upwards"));

/// A second base before Shape: the pointer to Shape is not the pointer to the object.
struct Padding {
  virtual ~Padding() = default;
  double unused = 0.0;
};

class Rectangle final : public Padding, public Shape {
 public:
  explicit Rectangle(const RectangleOptions& options) : options_(options) {}
  double area() const override { return options_.width * options_.height; }

 private:
  RectangleOptions options_;
};

class Point final : public Shape {
 public:
  double area() const override { return 0.0; }
};

Registry<Shape> make_registry() {
  Registry<Shape> registry("shape");
  registry.add<Rectangle, RectangleOptions>("Rectangle", "has two sides");
  registry.add<Point>("Point", "has none");
  return registry;
}

}  // namespace my_shapes

namespace {

ConfigNode yaml(std::string_view text) { return parse_yaml(text, "a.yaml"); }

}  // namespace

TEST_CASE("Registry creates objects from class_path and init_args") {
  const auto registry = my_shapes::make_registry();
  CHECK(registry.create(yaml("{class_path: Rectangle, init_args: {width: 3}}"))->area() == 6.0);
  CHECK(registry.create(yaml("{class_path: Rectangle}"))->area() == 2.0);
  CHECK(registry.create(yaml("class_path: Rectangle\ninit_args:\n"))->area() == 2.0);
  CHECK(registry.create(yaml("Point"))->area() == 0.0);
  CHECK(registry.create(yaml("class_path: my.package.shapes.Rectangle"))->area() == 2.0);
  CHECK(registry.create(yaml("class_path: my_shapes::Rectangle"))->area() == 2.0);
}

TEST_CASE("Registry lists the known classes and the nearest one when a class is unknown") {
  const auto registry = my_shapes::make_registry();
  CHECK(
      config_error([&] { registry.create(yaml("class_path: Rectangel"), "shapes.0"); }) ==
      "a.yaml:1: unknown shape \"Rectangel\" in shapes.0, expected one of Rectangle, Point. HINT: "
      "did you mean \"Rectangle\"?");
  CHECK(config_error([&] { registry.create(yaml("class_path: Circle"), "shapes.0"); }) ==
        "a.yaml:1: unknown shape \"Circle\" in shapes.0, expected one of Rectangle, Point.");
  const Registry<my_shapes::Shape> empty("shape");
  CHECK(config_error([&] { empty.create(yaml("Circle"), "shapes.0"); }) ==
        "a.yaml:1: unknown shape \"Circle\" in shapes.0, expected none, because none is "
        "registered.");
}

TEST_CASE("Registry names wrong arguments by their whole path") {
  const auto registry = my_shapes::make_registry();
  CHECK(config_error([&] {
          registry.create(yaml("class_path: Rectangle\ninit_args:\n  widht: 3"), "shapes.1");
        }) ==
        "a.yaml:3: unknown key \"shapes.1.init_args.widht\". HINT: did you mean "
        "\"shapes.1.init_args.width\"?");
  CHECK(config_error([&] {
          registry.create(yaml("{class_path: Rectangle, init_args: {width: a}}"), "shapes.1");
        }) == "a.yaml:1: shapes.1.init_args.width is \"a\", expected a number.");
  CHECK(config_error([&] {
          registry.create(yaml("{class_path: Point, init_args: {a: 1}}"), "s");
        }).find("HINT: there are no keys of s.init_args.") != std::string::npos);
}

TEST_CASE("Registry refuses nodes that name no class") {
  const auto registry = my_shapes::make_registry();
  CHECK(config_error([&] { registry.create(yaml("{class: Point}"), "s"); }) ==
        "a.yaml:1: unknown key \"s.class\". HINT: did you mean \"s.class_path\"?");
  CHECK(config_error([&] { registry.create(yaml("{init_args: {}}"), "s"); }) ==
        "a.yaml:1: s doesn't name a class, expected {class_path: <name of a shape>, init_args: "
        "{...}}");
  CHECK(config_error([&] { registry.create(yaml("[Point]"), "s"); }).find("doesn't name a class") !=
        std::string::npos);
}

TEST_CASE("Registry resolves a node to the registered name and all arguments") {
  const auto registry = my_shapes::make_registry();
  CHECK(registry.resolve(yaml("{class_path: a.b.Rectangle, init_args: {width: 3}}"), "s") ==
        yaml("{class_path: Rectangle, init_args: {width: 3.0, height: 2.0}}"));
  CHECK(registry.resolve(yaml("Point"), "s") == yaml("{class_path: Point, init_args: {}}"));
}

TEST_CASE("Registry refuses to register a name twice") {
  auto registry = my_shapes::make_registry();
  CHECK(config_error([&] { registry.add<my_shapes::Point>("Point", ""); }) ==
        "Registry: shape \"Point\" is registered twice, expected a new name");
}
