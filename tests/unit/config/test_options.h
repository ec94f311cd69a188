// Options structs as a user would write them: in a namespace of their own.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <lightning/config/fields.h>
#include <lightning/util/error.h>

namespace my_project {

enum class Mode { kMin, kMax };
LIGHTNING_ENUM(Mode, LIGHTNING_ENUMERATOR(kMin, "min"), LIGHTNING_ENUMERATOR(kMax, "max"),
               LIGHTNING_ENUMERATOR(kMax, "largest"));

/// A type with a text form of its own: "3x4".
struct Grid {
  int rows = 1;
  int columns = 1;
  static Grid from_text(std::string_view text) {
    const size_t x = text.find('x');
    if (x != 1 || text.size() != 3) throw lightning::ConfigError("expected ROWSxCOLUMNS (3x4).");
    return {text[0] - '0', text[2] - '0'};
  }
  std::string to_text() const { return std::to_string(rows) + "x" + std::to_string(columns); }
  static std::string type_name() { return "ROWSxCOLUMNS"; }
  bool operator==(const Grid&) const = default;
};

struct Layer {
  int64_t width = 64;
  std::vector<double> betas = {0.9, 0.999};
  bool operator==(const Layer&) const = default;
};
LIGHTNING_FIELDS(Layer, LIGHTNING_FIELD(width, "units of the layer"),
                 LIGHTNING_FIELD(betas, "decay rates"));

struct Everything {
  bool flag = false;
  int8_t tiny = 1;
  uint16_t small_count = 2;
  int64_t count = 3;
  uint64_t huge = 4;
  float ratio = 0.1f;
  double rate = 3e-5;
  std::string name = "plain";
  std::filesystem::path folder = "data/squad";
  Mode mode = Mode::kMin;
  std::optional<int64_t> limit = std::nullopt;
  std::optional<std::string> label = std::nullopt;
  std::vector<std::string> words = {};
  std::vector<Layer> layers = {};
  Layer head = {};
  std::optional<Layer> tail = std::nullopt;
  std::chrono::seconds max_time = std::chrono::hours(2);
  std::chrono::milliseconds pause = std::chrono::milliseconds(1500);
  Grid grid = {};
  bool operator==(const Everything&) const = default;
};
LIGHTNING_FIELDS(Everything, LIGHTNING_FIELD(flag, "a switch"), LIGHTNING_FIELD(tiny, "8 bits"),
                 LIGHTNING_FIELD(small_count, "16 bits"), LIGHTNING_FIELD(count, "a count"),
                 LIGHTNING_FIELD(huge, "64 bits"), LIGHTNING_FIELD(ratio, "a share"),
                 LIGHTNING_FIELD(rate, "a rate"), LIGHTNING_FIELD(name, "a name"),
                 LIGHTNING_FIELD(folder, "where data lies"),
                 LIGHTNING_FIELD(mode, "what is better"), LIGHTNING_FIELD(limit, "a limit"),
                 LIGHTNING_FIELD(label, "a label"), LIGHTNING_FIELD(words, "some words"),
                 LIGHTNING_FIELD(layers, "all layers"), LIGHTNING_FIELD(head, "the first layer"),
                 LIGHTNING_FIELD(tail, "the last layer"), LIGHTNING_FIELD(max_time, "a limit"),
                 LIGHTNING_FIELD(pause, "a pause"), LIGHTNING_FIELD(grid, "a grid"));

}  // namespace my_project
