// A small program with a module, a data module and commands of its own, run inside the test.
#pragma once

#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <torch/torch.h>
#include <catch2/catch.hpp>

#include <lightning/cli/lightning_cli.h>
#include <lightning/util/error.h>

#include "support/temporary_folder.h"

namespace cli_test {

/// Writes a file into a test's folder and returns its path.
inline std::string write_file(const lightning_tests::TemporaryFolder& folder,
                              const std::string& name, const std::string& text) {
  std::ofstream(folder / name) << text;
  return (folder / name).string();
}

/// What is written to a file descriptor while `body` runs.
inline std::string captured(int descriptor, const std::function<void()>& body) {
  std::fflush(nullptr);
  std::FILE* file = std::tmpfile();
  const int saved = dup(descriptor);
  dup2(fileno(file), descriptor);
  body();
  std::fflush(nullptr);
  dup2(saved, descriptor);
  close(saved);
  std::string text(static_cast<size_t>(std::ftell(file)), '\0');
  std::rewind(file);
  const size_t count = std::fread(text.data(), 1, text.size(), file);
  std::fclose(file);
  text.resize(count);
  return text;
}

struct LineOptions {
  double learning_rate = 0.1;
  int64_t width = 1;
  std::string title = "line";
  std::optional<std::string> note = std::nullopt;
};
LIGHTNING_FIELDS(LineOptions, LIGHTNING_FIELD(learning_rate, "step size of SGD"),
                 LIGHTNING_FIELD(width, "outputs"), LIGHTNING_FIELD(title, "any text"),
                 LIGHTNING_FIELD(note, "a remark"));

/// y = w x + b.
class Line : public lightning::LightningModule {
 public:
  using Options = LineOptions;
  explicit Line(const LineOptions& options) : options_(options) {
    layer_ = register_module("layer", torch::nn::Linear(1, options.width));
  }
  /// Says in its title that the assets were there to be used.
  static std::shared_ptr<Line> from_checkpoint(const LineOptions& options,
                                               const std::filesystem::path& assets) {
    LineOptions changed = options;
    changed.title += " from " + assets.filename().string();
    return std::make_shared<Line>(changed);
  }
  /// Folders of another program have a file "line.txt".
  static std::string option_of_folder(const std::filesystem::path& folder) {
    return std::filesystem::exists(folder / "line.txt") ? "model.title" : "";
  }
  const LineOptions& options() const { return options_; }
  torch::nn::Linear& layer() { return layer_; }

  lightning::StepOutput training_step(const lightning::Batch& batch, int64_t) override {
    return torch::mse_loss(layer_->forward(batch["x"]), batch["y"]);
  }
  void validation_step(const lightning::Batch& batch, int64_t) override {
    log("val_loss", torch::mse_loss(layer_->forward(batch["x"]), batch["y"]));
  }
  void test_step(const lightning::Batch& batch, int64_t batch_idx) override {
    validation_step(batch, batch_idx);
  }
  lightning::Batch predict_step(const lightning::Batch& batch, int64_t) override {
    ++predicted;
    return {{"y", layer_->forward(batch["x"])}};
  }
  lightning::OptimizerList configure_optimizers() override {
    return std::make_shared<torch::optim::SGD>(parameters(), options_.learning_rate);
  }
  int64_t predicted = 0;

 private:
  LineOptions options_;
  torch::nn::Linear layer_{nullptr};
};

struct PointsOptions {
  int64_t batch_size = 4;
  int64_t num_points = 16;
};
LIGHTNING_FIELDS(PointsOptions, LIGHTNING_FIELD(batch_size, "points per step"),
                 LIGHTNING_FIELD(num_points, "size of the data set"));

class Points : public lightning::LightningDataModule {
 public:
  using Options = PointsOptions;
  explicit Points(const PointsOptions& options) : options_(options) {}
  const PointsOptions& options() const { return options_; }
  lightning::DataLoaders train_dataloader() override { return loader(); }
  lightning::DataLoaders val_dataloader() override { return loader(); }
  lightning::DataLoaders test_dataloader() override { return loader(); }
  lightning::DataLoaders predict_dataloader() override { return loader(); }

 private:
  lightning::DataLoaders loader() const {
    const auto x = torch::linspace(-1, 1, options_.num_points).unsqueeze(1);
    auto points =
        std::make_shared<lightning::TensorDataset>(lightning::Batch{{"x", x}, {"y", 2 * x + 1}});
    return std::make_shared<lightning::DataLoader>(
        points, lightning::DataLoaderOptions{.batch_size = options_.batch_size});
  }
  PointsOptions options_;
};

struct AskOptions {
  std::string question;
  std::optional<std::filesystem::path> context_file = std::nullopt;
};
LIGHTNING_FIELDS(AskOptions, LIGHTNING_FIELD(question, "what to answer"),
                 LIGHTNING_FIELD(context_file, "where the answer is"));

/// Runs the program with these arguments through run_cli(), so that exceptions come out.
inline int run(std::vector<std::string> arguments, const lightning::CliSettings& settings = {}) {
  arguments.insert(arguments.begin(), "bin/liner");
  std::vector<char*> argv;
  for (std::string& text : arguments) argv.push_back(text.data());
  lightning::CliProgram program;
  program.model = lightning::make_cli_class<Line, lightning::LightningModule>("model");
  program.data = lightning::make_cli_class<Points, lightning::LightningDataModule>("data");
  return lightning::run_cli(static_cast<int>(argv.size()), argv.data(), program, settings);
}

/// Runs `body` as the program's "inspect" command.
inline void inspect(std::vector<std::string> arguments,
                    const std::function<void(lightning::CliContext&)>& body,
                    lightning::CliSettings settings = {}) {
  bool ran = false;
  settings.commands.push_back(
      lightning::make_command("inspect", "for tests", [&](lightning::CliContext& context) {
        body(context);
        ran = true;
        return 0;
      }));
  arguments.insert(arguments.begin(), "inspect");
  run(std::move(arguments), settings);
  REQUIRE(ran);
}

/// The resolved config that a command sees.
inline lightning::config::ConfigNode resolved(std::vector<std::string> arguments,
                                              lightning::CliSettings settings = {}) {
  lightning::config::ConfigNode config;
  inspect(
      std::move(arguments), [&](lightning::CliContext& context) { config = context.config(); },
      std::move(settings));
  return config;
}

/// The text at a key of a resolved config.
inline std::string text_at(const lightning::config::ConfigNode& config, std::string_view key) {
  const auto* node = config.find_path(key);
  INFO(key);
  REQUIRE(node != nullptr);
  return node->text();
}

template <typename Body>
std::string config_error(Body body) {
  try {
    body();
  } catch (const lightning::ConfigError& error) {
    return error.what();
  }
  FAIL("no ConfigError was thrown");
  return {};
}

}  // namespace cli_test
