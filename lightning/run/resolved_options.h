/// ResolvedOptions: TrainerOptions after device, data and environment are known.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include <c10/core/Device.h>

#include <lightning/cluster/topology.h>
#include <lightning/run/options.h>
#include <lightning/util/export.h>

namespace lightning {

/// The options of a run with everything known; printed at start and saved with the run.
struct ResolvedOptions {
  TrainerOptions user;  // with fast_dev_run and aliases applied
  at::Device device = at::Device(at::kCPU);
  std::string device_name;
  /// Where this process stands when the Trainer is made; launched ranks don't run yet.
  Topology topology;
  int64_t world_size = 1;
  int64_t max_epochs = -1;  // -1: no limit
  int64_t max_steps = -1;   // -1: no limit
};

/// Whether overfit_batches is more than 0.
LIGHTNING_API bool overfits(const TrainerOptions& options);

/// Checks every option (ConfigError naming it) and resolves what doesn't depend on the data.
/// `environment` (may be null) goes before options.cluster.
LIGHTNING_API ResolvedOptions resolve(
    const TrainerOptions& options, std::shared_ptr<const ClusterEnvironment> environment = nullptr);

}  // namespace lightning
