#include <lightning/data/batch_source.h>

#include <algorithm>

#include <lightning/util/error.h>

namespace lightning {

BatchSource::~BatchSource() = default;

DataLoaders::DataLoaders(std::vector<std::shared_ptr<BatchSource>> loaders)
    : loaders_(std::move(loaders)) {
  const bool all_there = std::all_of(loaders_.begin(), loaders_.end(),
                                     [](const auto& loader) { return loader != nullptr; });
  LIGHTNING_CHECK(all_there, ConfigError, "DataLoaders: a loader is null, expected a DataLoader.");
}

}  // namespace lightning
