/// Loaders: the data of a run, asked of data module or module.
#pragma once

#include <cstdint>
#include <optional>

#include <lightning/data/batch_source.h>

namespace lightning {

struct Loaders {
  DataLoaders train;
  DataLoaders validation;  // of fit()
  DataLoaders evaluation;  // of validate(), test() and predict()
  /// The first two were given to fit(): they are not asked for again.
  bool train_given = false;
  bool validation_given = false;
  /// Epochs for which they are there (loaders_epoch()); nothing: not yet.
  std::optional<int64_t> train_epoch;
  std::optional<int64_t> validation_epoch;

  /// The training loader; fit() has exactly one.
  BatchSource& train_loader() const { return train[0]; }
};

}  // namespace lightning
