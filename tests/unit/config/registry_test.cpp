#include <lightning/config/registry.h>

#include <lightning/config/class_spec.h>
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

Registry<Shape>& shapes();

struct FrameOptions {
  SpecOf<shapes> inner = "{class_path: Rectangle, init_args: {width: 4}}";
  std::vector<SpecOf<shapes>> more = {};
};
LIGHTNING_FIELDS(FrameOptions, LIGHTNING_FIELD(inner, "what it surrounds"),
                 LIGHTNING_FIELD(more, "what else"));

/// A class whose init_args name classes of its own kind.
class Frame final : public Shape {
 public:
  explicit Frame(const FrameOptions& options) {
    if (const auto inner = options.inner.create()) area_ += inner->area();
    for (const auto& spec : options.more) area_ += spec.create()->area();
  }
  double area() const override { return area_; }

 private:
  double area_ = 0.0;
};

struct EndlessOptions {
  SpecOf<shapes> inner = "Endless";
};
LIGHTNING_FIELDS(EndlessOptions, LIGHTNING_FIELD(inner, "another one"));

class Endless final : public Shape {
 public:
  explicit Endless(const EndlessOptions&) {}
  double area() const override { return 0.0; }
};

Registry<Shape>& shapes() {
  static Registry<Shape> registry = [] {
    Registry<Shape> made = make_registry();
    made.add<Frame, FrameOptions>("Frame", "surrounds other shapes");
    made.add<Endless, EndlessOptions>("Endless", "has itself as its default");
    return made;
  }();
  return registry;
}

struct Corner {
  SpecOf<shapes> shape = {};
};
LIGHTNING_FIELDS(Corner, LIGHTNING_FIELD(shape, "what stands there"));

struct PictureOptions {
  SpecOf<shapes> shape = "Rectangle";
  std::optional<SpecOf<shapes>> second = std::nullopt;
  Corner corner = {};
  std::vector<Corner> corners = {};
};
LIGHTNING_FIELDS(PictureOptions, LIGHTNING_FIELD(shape, "the first"),
                 LIGHTNING_FIELD(second, "the second"), LIGHTNING_FIELD(corner, "one corner"),
                 LIGHTNING_FIELD(corners, "more corners"));

/// Needs what only the run knows.
class Scaled final : public Shape {
 public:
  Scaled(double scale, std::unique_ptr<double> offset, const RectangleOptions& options)
      : area_(scale * options.width * options.height + *offset) {}
  double area() const override { return area_; }

 private:
  double area_;
};

}  // namespace my_shapes

namespace {

ConfigNode yaml(std::string_view text) { return parse_yaml(text, "a.yaml"); }

/// Options with `text` laid over them.
my_shapes::PictureOptions picture(std::string_view text) {
  my_shapes::PictureOptions options;
  apply(yaml(text), options, "data");
  return options;
}

/// A Frame around a Frame around ... `depth` deep.
std::string frames(int depth) {
  std::string text;
  for (int i = 0; i < depth; ++i) text += "{class_path: Frame, init_args: {inner: ";
  text += "Point";
  for (int i = 0; i < depth; ++i) text += "}}";
  return text;
}

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
        "a.yaml:1: unknown shape \"Circle\" in shapes.0, expected one of Rectangle, Point. "
        "HINT: a class of the program must be registered in main().");
  const Registry<my_shapes::Shape> empty("shape");
  CHECK(config_error([&] { empty.create(yaml("Circle"), "shapes.0"); }) ==
        "a.yaml:1: unknown shape \"Circle\" in shapes.0, expected none, because none is "
        "registered. HINT: a class of the program must be registered in main().");
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

TEST_CASE("Registry hands its context to constructors, before the options") {
  Registry<my_shapes::Shape, double, std::unique_ptr<double>> registry("shape");
  registry.add<my_shapes::Scaled, my_shapes::RectangleOptions>("Scaled", "");
  const auto shape = registry.create(yaml("{class_path: Scaled, init_args: {width: 3}}"), "s", 10.0,
                                     std::make_unique<double>(0.5));
  CHECK(shape->area() == 60.5);
}

TEST_CASE("a ClassSpec's name alone is the class_path of that name, and its text makes it again") {
  using Spec = SpecOf<my_shapes::shapes>;
  CHECK(Spec("Point") == Spec("{class_path: Point}"));
  CHECK_FALSE(Spec("Point") == Spec("Rectangle"));
  for (const char* text : {"", "none", "null"}) {
    CHECK(Spec(text).empty());
    CHECK(Spec(text) == Spec());
    CHECK(Spec(text).create() == nullptr);
  }
  for (const char* text : {"Point", "",
                           "{class_path: a::Frame, init_args: {inner: {class_path: "
                           "Rectangle, init_args: {width: 3}}, more: [Point]}}"}) {
    CHECK(Spec(Spec(text).to_text()) == Spec(text));
  }
  CHECK(Spec("Frame").create()->area() == 8.0);
}

TEST_CASE("options with classes are written with every init_arg and read back the same") {
  const auto options = picture(
      "{shape: a.b.Frame, second: Point, corner: {shape: Rectangle}, "
      "corners: [{shape: Point}, {shape: {class_path: Rectangle, init_args: {height: 5}}}]}");
  const ConfigNode written = to_node(options);
  CHECK(written ==
        yaml("{shape: {class_path: Frame, init_args: {inner: {class_path: Rectangle, init_args: "
             "{width: 4.0, height: 2.0}}, more: []}}, second: {class_path: Point, init_args: {}}, "
             "corner: {shape: {class_path: Rectangle, init_args: {width: 1.0, height: 2.0}}}, "
             "corners: [{shape: {class_path: Point, init_args: {}}}, {shape: {class_path: "
             "Rectangle, init_args: {width: 1.0, height: 5.0}}}]}"));
  CHECK(to_node(picture(to_yaml(written))) == written);
  CHECK(options.shape.create()->area() == 8.0);
  CHECK(options.corners[1].shape.create()->area() == 5.0);
  CHECK(to_node(picture("{shape: null}")).find("shape")->is_null());
}

TEST_CASE("a class given anew keeps the init_args it had, another class does not") {
  my_shapes::PictureOptions options;
  const auto shape_after = [&](std::string_view text) {
    apply(yaml(text), options, "data");
    return *to_node(options).find("shape");
  };
  CHECK(shape_after("{shape: {init_args: {width: 3}}}") ==
        yaml("{class_path: Rectangle, init_args: {width: 3.0, height: 2.0}}"));
  CHECK(shape_after("{shape: Rectangle}") ==
        yaml("{class_path: Rectangle, init_args: {width: 3.0, height: 2.0}}"));
  CHECK(shape_after("{shape: {class_path: x.Rectangle, init_args: {height: 5}}}") ==
        yaml("{class_path: Rectangle, init_args: {width: 3.0, height: 5.0}}"));
  CHECK(shape_after("{shape: Point}") == yaml("{class_path: Point, init_args: {}}"));
  CHECK(shape_after("{shape: Rectangle}") ==
        yaml("{class_path: Rectangle, init_args: {width: 1.0, height: 2.0}}"));
}

TEST_CASE("mistakes in the classes of options are named with file, line and key") {
  CHECK(config_error([] { picture("corner:\n  shape: Pont"); }) ==
        "a.yaml:2: unknown shape \"Pont\" in data.corner.shape, expected one of Rectangle, Point, "
        "Frame, Endless. HINT: did you mean \"Point\"?");
  CHECK(config_error([] {
          picture(
              "corners:\n  - shape: Point\n  - shape:\n      class_path: Rectangle\n"
              "      init_args:\n        widht: 3");
        }) ==
        "a.yaml:6: unknown key \"data.corners.1.shape.init_args.widht\". HINT: did you mean "
        "\"data.corners.1.shape.init_args.width\"?");
  CHECK(config_error([] {
          picture(
              "shape:\n  class_path: Frame\n  init_args:\n    more:\n    - Point\n"
              "    - {class_path: Rectangle, init_args: {width: wide}}");
        }) ==
        "a.yaml:6: data.shape.init_args.more.1.init_args.width is \"wide\", expected a number.");
  CHECK(config_error([] { picture("shape: [Point]"); }) ==
        "a.yaml:1: data.shape doesn't name a class, expected {class_path: <name of a shape>, "
        "init_args: {...}}");
  CHECK(config_error([] {
          to_node(my_shapes::PictureOptions{.shape = "Pont"});
        }).find("config: unknown shape \"Pont\", expected one of ") == 0);
}

TEST_CASE("a ClassSpec is made from options in C++, which must be those of the class") {
  using Spec = SpecOf<my_shapes::shapes>;
  const auto spec = Spec::of("Rectangle", my_shapes::RectangleOptions{.width = 5});
  CHECK(spec.create()->area() == 10.0);
  CHECK(spec == Spec("{class_path: Rectangle, init_args: {width: 5.0, height: 2.0}}"));
  CHECK(
      config_error([] { Spec::of("Rectangle", my_shapes::FrameOptions{}); }) ==
      "shape \"Rectangle\": the options are of a different type from those the class is registered "
      "with. HINT: pass the options struct that its add() names.");
  CHECK(config_error([] {
          Spec::of("Rectangel", my_shapes::RectangleOptions{});
        }).find("did you mean \"Rectangle\"?") != std::string::npos);
}

TEST_CASE("keys of classes know their registries and show the shortest default") {
  const auto keys = describe(my_shapes::PictureOptions{.second = "Frame"});
  REQUIRE(keys.size() == 4);
  const auto shown = [&](size_t i) {
    return keys[i].key + ": " + keys[i].type + " = " + keys[i].default_value;
  };
  CHECK(shown(0) == "shape: shape = Rectangle");
  CHECK(shown(1) == "second: shape or null = Frame");
  CHECK(shown(2) == "corner.shape: shape = null");
  CHECK(shown(3) == "corners: list of map = []");
  for (const auto& info : keys) {
    CHECK(info.registries == std::vector<const RegistryBase*>{&my_shapes::shapes()});
  }
  CHECK(describe<my_shapes::FrameOptions>()[0].default_value ==
        "{class_path: Rectangle, init_args: {width: 4.0}}");
}

TEST_CASE("classes within classes have a depth limit instead of an overflow") {
  CHECK(picture("shape: " + frames(60)).shape.create()->area() == 0.0);
  CHECK(config_error([] { picture("shape: " + frames(70)); }).find("more than 64 deep") !=
        std::string::npos);
  CHECK(config_error([] {
          picture("shape: " + frames(10000));
        }).find("maps and lists nest more than 200 levels deep") != std::string::npos);
  CHECK(config_error([] { picture("shape: Endless"); }).find("more than 64 deep") !=
        std::string::npos);
  std::string path = "a";
  for (int i = 0; i < 10000; ++i) path += ".init_args";
  ConfigNode root;
  CHECK(config_error([&] {
          root.set_path(path, ConfigNode::scalar("1"));
        }).find("more than 200 parts") != std::string::npos);
}

TEST_CASE("layers of a config take a class's name alone for its class_path") {
  const auto merged = [](std::string_view under, std::string_view over) {
    ConfigNode node = yaml(under);
    node.merge(yaml(over));
    return node;
  };
  const ConfigNode whole = yaml("{class_path: Point, init_args: {a: 1}}");
  CHECK(merged("Point", "{init_args: {a: 1}}") == whole);
  CHECK(merged("{class_path: Point, init_args: {a: 1}}", "Point") == whole);
  CHECK(merged("{class_path: Point, init_args: {a: 1}}", "my_shapes::Point") == whole);
  CHECK(merged("{class_path: Point, init_args: {a: 1}}", "Frame") == yaml("Frame"));
  ConfigNode root = yaml("{shapes: [Frame, Point]}");
  root.set_path("shapes.1.init_args.a", ConfigNode::scalar("1"));
  CHECK(root.find("shapes")->items()[1] == whole);
}
