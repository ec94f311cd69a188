// Predictions on the disk: each batch, or all of them in order of the data.
#include <filesystem>
#include <fstream>
#include <set>

#include <catch2/catch.hpp>

#include <lightning/callbacks/prediction_writer.h>
#include <lightning/callbacks/registry.h>
#include <lightning/checkpoint/safetensors.h>
#include <lightning/config/yaml.h>
#include <lightning/trainer/trainer.h>
#include <lightning/util/error.h>

#include "support/boring_module.h"
#include "support/temporary_folder.h"

namespace {

namespace fs = std::filesystem;
using lightning::Predictions;
using lightning::PredictionWriter;
using lightning::SafetensorsFile;
using lightning::WriteInterval;

/// Its outputs are the samples.
class Echoes : public lightning::LightningModule {
 public:
  lightning::Batch predict_step(const lightning::Batch& batch, int64_t) override {
    return lightning::Batch({{"y", batch["x"]}});
  }
};

/// The numbers from `first` to `last`, two in a batch.
std::shared_ptr<lightning::DataLoader> numbers(int64_t first, int64_t last, int64_t width = 1) {
  const at::Tensor x = at::arange(first, last + 1).to(at::kFloat).view({-1, 1}).repeat({1, width});
  return std::make_shared<lightning::DataLoader>(
      std::make_shared<lightning::TensorDataset>(lightning::Batch({{"x", x}})),
      lightning::DataLoaderOptions{.batch_size = 2});
}

std::set<std::string> names_in(const fs::path& folder) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    names.insert(entry.path().filename().string());
  }
  return names;
}

std::vector<float> values(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.contiguous().flatten();
  return {flat.data_ptr<float>(), flat.data_ptr<float>() + flat.numel()};
}

std::vector<float> values(const fs::path& file, const std::string& name) {
  return values(SafetensorsFile(file).read(name));
}

void predict(const std::shared_ptr<PredictionWriter>& writer, const lightning::DataLoaders& data) {
  lightning::Trainer trainer(quiet_options(), {writer}, lightning::Loggers{});
  trainer.predict(std::make_shared<Echoes>(), data, {});
}

using Floats = std::vector<float>;
using Names = std::set<std::string>;

}  // namespace

TEST_CASE("PredictionWriter writes each batch", "[callbacks]") {
  const lightning_tests::TemporaryFolder folder;
  const auto writer = std::make_shared<PredictionWriter>(
      lightning::PredictionWriterOptions{.dirpath = folder.path() / "out"});
  predict(writer, numbers(1, 5));
  CHECK(writer->folder() == folder.path() / "out");
  CHECK(names_in(writer->folder()) == Names{"dataloader_idx=0-batch_idx=0.safetensors",
                                            "dataloader_idx=0-batch_idx=1.safetensors",
                                            "dataloader_idx=0-batch_idx=2.safetensors"});
  CHECK(values(writer->folder() / "dataloader_idx=0-batch_idx=1.safetensors", "y") == Floats{3, 4});
}

TEST_CASE("PredictionWriter writes all batches in order after the last", "[callbacks]") {
  const lightning_tests::TemporaryFolder folder;
  const auto writer = std::make_shared<PredictionWriter>(lightning::PredictionWriterOptions{
      .dirpath = folder.path(), .write_interval = WriteInterval::kEpoch});
  // What was killed may have left something.
  fs::create_directories(folder.path() / ".spool" / "rank=0");
  std::ofstream(folder.path() / ".spool" / "rank=0" / "part-00000.safetensors") << "broken";
  predict(writer, std::vector{numbers(1, 5), numbers(11, 13)});
  CHECK(names_in(folder.path()) == Names{"predictions-00000.safetensors"});
  const fs::path file = folder.path() / "predictions-00000.safetensors";
  CHECK(values(file, "y") == Floats{1, 2, 3, 4, 5});
  CHECK(values(file, "y/dataloader_idx_1") == Floats{11, 12, 13});
}

TEST_CASE("PredictionWriter leaves no files of an earlier, longer pass", "[callbacks]") {
  const lightning_tests::TemporaryFolder folder;
  const fs::path out = folder.path() / "out";
  const auto write = [&](WriteInterval interval, int64_t last) {
    // Files of 1 MiB: one for each batch of two rows.
    const auto writer = std::make_shared<PredictionWriter>(lightning::PredictionWriterOptions{
        .dirpath = out, .write_interval = interval, .buffer_mib = 1});
    predict(writer, numbers(1, last, 131'072));
  };
  write(WriteInterval::kBatchAndEpoch, 5);
  REQUIRE(names_in(out).size() == 6);
  // What only looks alike, and a link.
  Names others = {"predictions-.safetensors",     "predictions-1.safetensors.bak",
                  "my-predictions-1.safetensors", "dataloader_idx=0-batch_idx=0-rank=.safetensors",
                  "dataloader_idx=0.safetensors", "notes.txt"};
  for (const std::string& name : others) std::ofstream(out / name) << "mine";
  std::ofstream(folder.path() / "elsewhere") << "mine";
  fs::create_symlink(folder.path() / "elsewhere", out / "predictions-00007.safetensors");
  fs::create_directories(out / "predictions-00008.safetensors");
  std::ofstream(out / "dataloader_idx=0-batch_idx=0-rank=3.safetensors") << "of four ranks";
  others.merge(Names{"predictions-00007.safetensors", "predictions-00008.safetensors"});
  SECTION("of epochs") {
    write(WriteInterval::kEpoch, 2);
    // The batches of the earlier pass aren't its own.
    others.merge(Names{"predictions-00000.safetensors", "dataloader_idx=0-batch_idx=0.safetensors",
                       "dataloader_idx=0-batch_idx=1.safetensors",
                       "dataloader_idx=0-batch_idx=2.safetensors",
                       "dataloader_idx=0-batch_idx=0-rank=3.safetensors"});
    CHECK(names_in(out) == others);
  }
  SECTION("of batches and epochs") {
    write(WriteInterval::kBatchAndEpoch, 2);
    others.merge(
        Names{"predictions-00000.safetensors", "dataloader_idx=0-batch_idx=0.safetensors"});
    CHECK(names_in(out) == others);
    CHECK(values(out / "predictions-00000.safetensors", "y").back() == 2);
  }
  CHECK(fs::exists(folder.path() / "elsewhere"));
}

TEST_CASE("PredictionWriter keeps no more than its buffer in memory", "[callbacks]") {
  const lightning_tests::TemporaryFolder folder;
  class CountsFiles : public PredictionWriter {
   public:
    using PredictionWriter::PredictionWriter;
    void write_on_epoch_end(lightning::TrainerContext& trainer, lightning::LightningModule& module,
                            const Predictions& predictions) override {
      spooled = names_in(folder() / ".spool" / "rank=0").size();
      PredictionWriter::write_on_epoch_end(trainer, module, predictions);
    }
    size_t spooled = 0;
  };
  const auto writer = std::make_shared<CountsFiles>(lightning::PredictionWriterOptions{
      .dirpath = folder.path(), .write_interval = WriteInterval::kEpoch, .buffer_mib = 1});
  // 5 batches of 1 MiB.
  predict(writer, numbers(1, 10, 131'072));
  CHECK(writer->spooled == 5);
  CHECK(names_in(folder.path()).size() == 5);
  CHECK(values(folder.path() / "predictions-00004.safetensors", "y").front() == 9);
}

TEST_CASE("Predictions of several ranks come in order of the data", "[callbacks]") {
  const lightning_tests::TemporaryFolder folder;
  const auto spool = [&](int64_t rank, const char* name, const Floats& rows) {
    const fs::path path = folder.path() / ("rank=" + std::to_string(rank));
    fs::create_directories(path);
    lightning::write_safetensors(path / (std::string(1, name[2]) + ".safetensors"),
                                 {{name, at::tensor(rows, at::kFloat)}});
  };
  // Global batches of 6: sample i is of rank i % 3. The last has 2.
  spool(0, "0/0/y", {0, 3});
  spool(1, "0/0/y", {1, 4});
  spool(2, "0/0/y", {2, 5});
  spool(0, "0/1/y", {6});
  spool(1, "0/1/y", {7});
  const auto path = [&](int64_t rank) { return folder.path() / ("rank=" + std::to_string(rank)); };
  {
    const Predictions predictions({path(0), path(1), path(2)});
    REQUIRE(predictions.size() == 2);
    CHECK(values(predictions.read(0)["y"]) == Floats{0, 1, 2, 3, 4, 5});
    CHECK(values(predictions.read(1)["y"]) == Floats{6, 7});
    CHECK_THROWS_AS(predictions.read(2), lightning::DataError);
  }
  SECTION("unless they aren't one row for each sample") {
    spool(1, "0/1/y", {7, 8});
    const Predictions predictions({path(0), path(1), path(2)});
    CHECK_THROWS_WITH(predictions.read(1), Catch::Contains("a row for each sample"));
  }
  SECTION("unless rank 0 doesn't see them") {
    CHECK_THROWS_WITH(Predictions({path(0), path(3)}), Catch::Contains("rank 1, is not there"));
  }
  SECTION("unless something else lies there") {
    spool(0, "what", {1});
    CHECK_THROWS_WITH(Predictions({path(0)}), Catch::Contains("LOADER/BATCH/NAME"));
  }
}

TEST_CASE("PredictionWriter is made from YAML", "[callbacks]") {
  const auto make = [](const char* text) {
    return lightning::callback_registry().create(lightning::config::parse_yaml(text, "config"));
  };
  CHECK(std::dynamic_pointer_cast<PredictionWriter>(
            make("{class_path: PredictionWriter, init_args: {write_interval: batch_and_epoch}}")) !=
        nullptr);
  CHECK_THROWS_WITH(make("{class_path: PredictionWriter, init_args: {buffer_mib: 0}}"),
                    Catch::Contains("buffer_mib is 0"));
}
