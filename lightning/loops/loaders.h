/// Loaders: the data of a run, asked of data module or module once.
#pragma once

#include <lightning/data/data_loader.h>

namespace lightning {

struct Loaders {
  DataLoaders train;
  DataLoaders validation;  // of fit()
  DataLoaders evaluation;  // of validate(), test() and predict()
  bool train_ready = false;
  bool validation_ready = false;

  /// The training loader; fit() has exactly one.
  DataLoader& train_loader() const { return train[0]; }
};

}  // namespace lightning
