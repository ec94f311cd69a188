/// How many threads a rank computes with.
#pragma once

#include <cstdint>

#include <lightning/cluster/topology.h>
#include <lightning/util/export.h>

namespace lightning {

/// Threads for one rank: OMP_NUM_THREADS, else SLURM_CPUS_PER_TASK, else the CPUs that this process
/// may use divided by the ranks that share them; at least 1.
LIGHTNING_API int64_t threads_per_rank(const EnvironmentVariables& variables,
                                       const Topology& topology);

}  // namespace lightning
