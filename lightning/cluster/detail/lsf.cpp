#include <algorithm>
#include <sstream>

#include <lightning/cluster/detail/environments.h>
#include <lightning/cluster/detail/variables.h>
#include <lightning/util/error.h>
#include <lightning/util/file_system.h>

namespace lightning::detail {
namespace {

std::string start_text(int64_t nodes, int64_t tasks) {
  return concat("start it with jsrun --nrs ", nodes, " --rs_per_host 1 --tasks_per_rs ", tasks);
}

/// Hosts of the job, each once, in order; the first may be the launch node, which runs no tasks.
std::vector<std::string> hosts_of_job(const Variables& values) {
  std::string text;
  bool with_counts = false;
  if (const std::string* file = values.find("LSB_DJOB_RANKFILE")) {
    text = read_file(*file);
  } else if (const std::string* hosts = values.find("LSB_MCPU_HOSTS")) {  // "host1 4 host2 4"
    text = *hosts;
    with_counts = true;
  } else {
    text = values.first_of({"LSB_HOSTS"});
  }
  std::istringstream words(text);
  std::vector<std::string> hosts;
  std::string host, count;
  while (words >> host) {
    if (with_counts) words >> count;
    if (std::find(hosts.begin(), hosts.end(), host) == hosts.end()) hosts.push_back(host);
  }
  return hosts;
}

std::string host_of_rank_0(const Topology& topology, const Variables& values) {
  if (topology.single_node()) return "127.0.0.1";
  if (const std::string* host = values.find("MASTER_ADDR")) return *host;
  const auto hosts = hosts_of_job(values);
  const auto nodes = static_cast<size_t>(topology.num_nodes);
  LIGHTNING_CHECK(hosts.size() >= nodes, ConfigError, "lsf: ", hosts.size(),
                  " hosts in LSB_DJOB_RANKFILE, LSB_MCPU_HOSTS or LSB_HOSTS and tasks on ", nodes,
                  " nodes, expected at least as many. HINT: export MASTER_ADDR=<host of rank 0>");
  return hosts[hosts.size() > nodes ? 1 : 0];
}

}  // namespace

bool is_lsf_task(const EnvironmentVariables& variables) {
  return Variables(variables, "lsf")
      .has_all({"LSB_JOBID", "JSM_NAMESPACE_RANK", "JSM_NAMESPACE_SIZE"});
}

Topology lsf_topology(const EnvironmentVariables& variables, const TopologyRequest& request) {
  const Variables values(variables, "lsf");
  values.require(
      {"LSB_JOBID", "JSM_NAMESPACE_RANK", "JSM_NAMESPACE_SIZE", "JSM_NAMESPACE_LOCAL_RANK"},
      "start the program with jsrun in a job of bsub, or choose a different "
      "trainer.cluster");
  Topology topology;
  topology.cluster = "lsf";
  topology.global_rank = *values.number("JSM_NAMESPACE_RANK");
  topology.world_size = *values.number("JSM_NAMESPACE_SIZE");
  topology.local_rank = *values.number("JSM_NAMESPACE_LOCAL_RANK");
  topology.reason = concat("jsrun started this task of job ", *values.find("LSB_JOBID"),
                           ": JSM_NAMESPACE_RANK=", topology.global_rank,
                           ", JSM_NAMESPACE_SIZE=", topology.world_size);
  topology.local_world_size =
      values.number("JSM_NAMESPACE_LOCAL_SIZE").value_or(request.devices.value_or(1));
  deduce_nodes(topology, start_text);
  check_topology(topology, request, {topology.local_world_size}, values, start_text);
  topology.device_index = choose_device(topology, request);
  if (topology.world_size == 1) return topology;

  topology.run_id = concat(*values.find("LSB_JOBID"), ".", values.first_of({"LSB_JOBINDEX"}), ".",
                           values.first_of({"JSM_NAMESPACE_ID", "PMIX_NAMESPACE"}), ".",
                           values.first_of({"LSB_RESTART_PGID", "LSB_REQUEUE_COUNT"}));
  topology.main_host = host_of_rank_0(topology, values);
  topology.main_ports = ports_of(topology.run_id);
  if (const auto port = values.number("MASTER_PORT")) {
    LIGHTNING_CHECK(*port <= 65535, ConfigError, "lsf: MASTER_PORT is ", *port,
                    ", expected a port up to 65535. HINT: set a different one");
    topology.main_ports = {static_cast<uint16_t>(*port)};
  }
  return topology;
}

}  // namespace lightning::detail
