#include <lightning/cluster/cluster_environment.h>

#include <algorithm>
#include <array>
#include <memory>

#include <lightning/cluster/detail/environments.h>

namespace lightning {
namespace {

struct BuiltinCluster {
  const char* name;
  const char* help;
  bool (*detect)(const EnvironmentVariables&);
  Topology (*topology)(const EnvironmentVariables&, const TopologyRequest&);
};

bool is_slurm_task(const EnvironmentVariables& variables) {
  return detail::slurm_place(variables) == detail::SlurmContext::kTask;
}

const std::array<BuiltinCluster, 5> kBuiltinClusters = {{
    {"torchrun", "workers of torchrun", detail::is_torchrun_worker, detail::torchrun_topology},
    {"lsf", "tasks of jsrun", detail::is_lsf_task, detail::lsf_topology},
    {"mpi", "ranks of mpirun or mpiexec", detail::is_mpi_rank, detail::mpi_topology},
    {"slurm", "tasks of srun", is_slurm_task, detail::slurm_topology},
    {"local", "processes of this machine, which this one starts", detail::is_launched_rank,
     detail::local_topology},
}};

class BuiltinEnvironment final : public ClusterEnvironment {
 public:
  explicit BuiltinEnvironment(const BuiltinCluster& cluster) : cluster_(cluster) {}
  std::string_view name() const override { return cluster_.name; }
  bool detect(const EnvironmentVariables& variables) const override {
    return cluster_.detect(variables);
  }
  Topology topology(const EnvironmentVariables& variables,
                    const TopologyRequest& request) const override {
    return cluster_.topology(variables, request);
  }

 private:
  const BuiltinCluster& cluster_;
};

config::Registry<ClusterEnvironment> builtin_clusters() {
  config::Registry<ClusterEnvironment> registry("cluster");
  for (const BuiltinCluster& cluster : kBuiltinClusters) {
    registry.add_factory<config::NoOptions>(cluster.name, cluster.help,
                                            [&cluster](const config::NoOptions&) {
                                              return std::make_shared<BuiltinEnvironment>(cluster);
                                            });
  }
  return registry;
}

}  // namespace

ClusterEnvironment::~ClusterEnvironment() = default;

bool detail::is_builtin_cluster(std::string_view name) {
  return std::any_of(kBuiltinClusters.begin(), kBuiltinClusters.end(),
                     [&](const BuiltinCluster& cluster) { return cluster.name == name; });
}

config::Registry<ClusterEnvironment>& cluster_registry() {
  static config::Registry<ClusterEnvironment> registry = builtin_clusters();
  return registry;
}

}  // namespace lightning
