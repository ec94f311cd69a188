#include <lightning/data/torch_data_adapter.h>

#include <chrono>
#include <thread>

#include <torch/torch.h>

#include <catch2/catch.hpp>

#include <lightning/data/data_loader.h>

using namespace lightning;

namespace {

// Not safe for several threads, as data sets of torch::data needn't be.
class Squares : public torch::data::datasets::Dataset<Squares> {
 public:
  torch::data::Example<> get(size_t index) override {
    scratch_ = index;
    std::this_thread::sleep_for(std::chrono::microseconds(200));
    const auto x = static_cast<float>(scratch_);
    return {torch::full({2}, x), torch::tensor(x * x)};
  }
  std::optional<size_t> size() const override { return 20; }

 private:
  size_t scratch_ = 0;
};

class Unsized : public torch::data::datasets::Dataset<Unsized> {
 public:
  torch::data::Example<> get(size_t) override { return {}; }
  std::optional<size_t> size() const override { return std::nullopt; }
};

void check_squares(const std::shared_ptr<Dataset>& dataset, int64_t num_workers) {
  CHECK(dataset->size() == 20);
  DataLoader loader(dataset, {.batch_size = 8, .num_workers = num_workers});
  int64_t seen = 0;
  while (const auto batch = loader.next()) {
    const int64_t size = batch->batch_size();
    const auto x = torch::arange(seen, seen + size, torch::kFloat);
    CHECK((*batch)["data"].equal(x.unsqueeze(1).expand({size, 2})));
    CHECK((*batch)["target"].equal(x * x));
    seen += size;
  }
  CHECK(seen == 20);
}

}  // namespace

TEST_CASE("dataset_from_torch reads a torch data set, in several workers too", "[torch_data]") {
  check_squares(dataset_from_torch(Squares()), 0);
  check_squares(dataset_from_torch(Squares()), 4);
}

TEST_CASE("dataset_from_torch takes data sets whose transform makes batches", "[torch_data]") {
  check_squares(dataset_from_torch(Squares().map(torch::data::transforms::Stack<>())), 2);
}

TEST_CASE("dataset_from_torch takes data sets without targets", "[torch_data]") {
  const auto x = torch::arange(6).view({3, 2});
  DataLoader loader(dataset_from_torch(torch::data::datasets::TensorDataset({x[0], x[1], x[2]})),
                    {.batch_size = 3});
  const std::optional<Batch> batch = loader.next();
  CHECK(batch->size() == 1);
  CHECK((*batch)["data"].equal(x));
}

TEST_CASE("dataset_from_torch refuses a data set without a size", "[torch_data]") {
  CHECK_THROWS_AS(dataset_from_torch(Unsized()), ConfigError);
}
