/// ModelSummary: a table of the module's layers and parameters at the start of a fit.
#pragma once

#include <cstdint>
#include <string>

#include <lightning/callbacks/callback.h>
#include <lightning/config/fields.h>
#include <lightning/util/export.h>

namespace lightning {

struct ModelSummaryOptions {
  /// Levels of layers that get a row; -1: all, 0: totals only.
  int64_t max_depth = 1;
};

LIGHTNING_FIELDS(ModelSummaryOptions,
                 LIGHTNING_FIELD(max_depth, "levels of layers that get a row; -1: all"))

/// The table as text; tied parameters count once. Sizes in units of 10^6 bytes.
LIGHTNING_API std::string summarize(const torch::nn::Module& module, int64_t max_depth);

class LIGHTNING_API ModelSummary final : public Callback {
 public:
  using Options = ModelSummaryOptions;
  explicit ModelSummary(ModelSummaryOptions options = {});
  void on_fit_start(TrainerContext& trainer, LightningModule& module) override;

 private:
  ModelSummaryOptions options_;
};

}  // namespace lightning
