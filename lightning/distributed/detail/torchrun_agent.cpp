#include <lightning/distributed/detail/torchrun_agent.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <future>

#include <nlohmann/json.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <lightning/util/detail/detached.h>
#include <lightning/util/detail/disk.h>
#include <lightning/util/error.h>
#include <lightning/util/file_system.h>

namespace lightning::detail {
namespace {

using std::chrono::milliseconds;

struct Agent {
  std::string host;
  uint16_t port = 0;
  std::string key;
};

milliseconds until(Deadline deadline) {
  const auto left = std::chrono::duration_cast<milliseconds>(deadline - Deadline::clock::now());
  return std::max(left, milliseconds(1));
}

c10::intrusive_ptr<c10d::TCPStore> connect(const Agent& agent, Deadline deadline) {
  // LibTorch writes pages of warnings when no process listens.
  Socket::connect(agent.host, agent.port, deadline);
  c10d::TCPStoreOptions options;
  options.port = agent.port;
  options.waitWorkers = false;
  options.timeout = until(deadline);
  return c10::make_intrusive<c10d::TCPStore>(agent.host, options);
}

/// Empty, or why `done` isn't there.
std::string problem_of(std::future<bool>& done, Deadline deadline) {
  if (done.wait_until(deadline) != std::future_status::ready) return "no answer in time";
  try {
    return done.get() ? "" : "a value disappeared after it was set";
  } catch (const c10::Error& e) {
    return e.what_without_backtrace();
  } catch (const std::exception& e) {
    return e.what();
  }
}

void publish(const Agent& agent, const std::string& addresses, Deadline deadline) {
  std::future<bool> done = run_detached<bool>([agent, addresses, deadline] {
    const auto store = connect(agent, deadline);
    store->set(agent.key, std::vector<uint8_t>(addresses.begin(), addresses.end()));
    // set() isn't answered: only this shows that it has arrived.
    return store->check({agent.key});
  });
  const std::string problem = problem_of(done, deadline);
  LIGHTNING_CHECK(problem.empty(), DistributedError, "world: the store of torchrun's agent at ",
                  agent.host, ":", agent.port, " can't be written: ", problem,
                  ". HINT: check that torchrun is still running on the first node and that this "
                  "host can reach it.");
}

std::string look_up(const Agent& agent, Deadline deadline) {
  std::future<std::string> found = run_detached<std::string>([agent, deadline] {
    const auto store = connect(agent, deadline);
    store->wait({agent.key}, until(deadline));
    const std::vector<uint8_t> value = store->get(agent.key);
    return std::string(value.begin(), value.end());
  });
  if (found.wait_until(deadline) != std::future_status::ready) return "";
  try {
    return found.get();
  } catch (const std::exception&) {
    return "";
  }
}

}  // namespace

Rendezvous agent_rendezvous(const Topology& topology, milliseconds timeout) {
  const Agent agent{topology.main_host, topology.main_ports.at(0),
                    concat("lightning/", topology.run_id, "/hub")};
  Rendezvous rendezvous;
  rendezvous.publish = [agent, timeout](const std::string& addresses) {
    publish(agent, addresses, Deadline::clock::now() + timeout);
  };
  rendezvous.lookup = [agent](Deadline deadline) { return look_up(agent, deadline); };
  return rendezvous;
}

void write_agent_error(const std::string& text) noexcept {
  try {
    const char* path = std::getenv("TORCHELASTIC_ERROR_FILE");
    if (path == nullptr || *path == '\0' || detail::path_exists(path)) return;
    const std::string message = "DistributedError: " + text;
    // torchrun prints what it takes for the call stack.
    const nlohmann::json details = {{"py_callstack", message},
                                    {"timestamp", std::to_string(std::time(nullptr))}};
    const nlohmann::json error = {{"message", {{"message", message}, {"extraInfo", details}}}};
    // Invalid UTF-8 is replaced, not refused.
    write_file_atomically(
        path, error.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
  } catch (...) {
    // The text also goes to the log; torchrun's summary will only lack it.
  }
}

}  // namespace lightning::detail
