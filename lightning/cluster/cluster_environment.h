/// ClusterEnvironment: how a process learns from its cluster which rank of a run it is.
#pragma once

#include <string_view>

#include <lightning/cluster/topology.h>
#include <lightning/config/registry.h>
#include <lightning/util/export.h>

namespace lightning {

/// Pure functions of the variables: they start and read nothing else, so that tests need no
/// cluster.
class LIGHTNING_API ClusterEnvironment {
 public:
  ClusterEnvironment() = default;
  virtual ~ClusterEnvironment();
  ClusterEnvironment(const ClusterEnvironment&) = delete;
  ClusterEnvironment& operator=(const ClusterEnvironment&) = delete;

  /// As trainer.cluster names it.
  virtual std::string_view name() const = 0;
  /// Whether this cluster started the process; asked with trainer.cluster: auto.
  virtual bool detect(const EnvironmentVariables& variables) const = 0;
  /// Ranks, sizes, where rank 0 listens and the run's id. Throws ConfigError for variables that
  /// contradict one another or the request.
  virtual Topology topology(const EnvironmentVariables& variables,
                            const TopologyRequest& request) const = 0;
};

/// The classes that trainer.cluster may name: torchrun, lsf, mpi, slurm, local, and those that the
/// program adds in main(), which auto asks first, with their default options.
LIGHTNING_API config::Registry<ClusterEnvironment>& cluster_registry();

}  // namespace lightning
