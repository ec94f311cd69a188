// Ranks that the launcher starts and the control plane joins, held in one phase of a run until
// something happens to one of them.
//   faults_program --ranks=N --phase=PHASE [--rank=R] [--until=FILE] [--timeout-ms=N]
//                  [--grace-ms=N]
// Phases: start (rank R doesn't come to connect), exchange, training (boundaries), checkpoint (a
// long phase without either), stuck (the main thread looks at nothing), exception (rank R throws),
// end (rank R doesn't come to leave). All end at their next turn once FILE exists, and by SIGTERM.
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>

#include <lightning/cli/run_main.h>
#include <lightning/cluster/topology.h>
#include <lightning/control/control_plane.h>
#include <lightning/control/detail/connect.h>
#include <lightning/launch/launch_ranks.h>
#include <lightning/launch/launcher.h>
#include <lightning/run/detail/signals.h>
#include <lightning/util/error.h>

namespace {

struct Arguments {
  int64_t ranks = 3;
  int64_t rank = -1;
  std::string phase;
  std::string until;
  std::chrono::milliseconds timeout{3000};
  std::chrono::milliseconds grace{60'000};
};

Arguments parse(int argc, char** argv) {
  Arguments result;
  for (int i = 1; i < argc; ++i) {
    const std::string text = argv[i];
    const std::string value = text.substr(text.find('=') + 1);
    if (text.starts_with("--ranks=")) result.ranks = std::stoll(value);
    if (text.starts_with("--rank=")) result.rank = std::stoll(value);
    if (text.starts_with("--phase=")) result.phase = value;
    if (text.starts_with("--until=")) result.until = value;
    if (text.starts_with("--timeout-ms=")) result.timeout = std::chrono::milliseconds(stoi(value));
    if (text.starts_with("--grace-ms=")) result.grace = std::chrono::milliseconds(stoi(value));
  }
  return result;
}

void write_line(const std::string& text) {
  const std::string line = text + "\n";
  [[maybe_unused]] const auto written = ::write(STDOUT_FILENO, line.data(), line.size());
}

void rest() { std::this_thread::sleep_for(std::chrono::milliseconds(2)); }

class Rank {
 public:
  Rank(const Arguments& arguments, const lightning::Topology& topology)
      : arguments_(arguments), topology_(topology) {}

  int run() {
    const lightning::SignalHandler signals;
    lightning::Socket listener;
    if (topology_.needs_launch) {
      auto launched = lightning::launch_ranks(topology_, {.grace = arguments_.grace});
      topology_ = launched.topology;
      listener = std::move(launched.listener);
    }
    write_line(lightning::detail::concat("pid ", ::getpid()));
    hold("start");
    lightning::ControlPlaneOptions options;
    options.connect_timeout = 2 * arguments_.timeout;
    options.heartbeat_timeout = arguments_.timeout;
    options.grace = arguments_.grace;
    control_ = lightning::detail::connect_control_plane(topology_, options, std::move(listener));
    try {
      train(signals);
    } catch (const std::exception& error) {
      control_->fail(error.what());
      throw;
    }
    hold("end");
    control_->leave();
    return 0;
  }

 private:
  bool ended() const {
    return !arguments_.until.empty() && std::filesystem::exists(arguments_.until);
  }

  void hold(const std::string& phase) {
    if (arguments_.phase != phase) return;
    write_line("at " + phase);
    while (topology_.global_rank == arguments_.rank && !ended()) rest();
  }

  void train(const lightning::SignalHandler& signals) {
    const std::string& phase = arguments_.phase;
    if (phase == "start" || phase == "end") return;
    control_->set_status({.global_step = 7, .phase = "training_step"});
    control_->barrier("train");
    write_line("at " + phase);
    if (phase == "exception") {
      if (topology_.global_rank == arguments_.rank) throw lightning::DataError("row 5 is damaged");
      while (true) exchange();
    }
    if (phase == "checkpoint") control_->set_status({.phase = "checkpoint", .long_phase = true});
    for (int64_t boundary = 0;; ++boundary) {
      if (phase == "exchange" && exchange()) return;
      if (phase == "stuck" && ended()) return;
      if (phase == "checkpoint") {
        control_->throw_if_failed();
        if (ended()) return;
      }
      if (phase == "training" && at_boundary(signals, boundary)) return;
      rest();
    }
  }

  /// Whether one of the ranks wants to end.
  bool exchange() {
    bool end = false;
    for (const std::string& text : control_->all_gather("end", ended() ? "yes" : "")) {
      end = end || !text.empty();
    }
    return end;
  }

  bool at_boundary(const lightning::SignalHandler& signals, int64_t boundary) {
    if (!asked_ && (signals.pending() != 0 || ended())) {
      asked_ = true;
      control_->request_stop({.signal = signals.pending(), .reason = "test"});
    }
    if (!control_->stop_at(boundary)) return false;
    write_line(lightning::detail::concat("stopped at ", boundary));
    return true;
  }

  const Arguments& arguments_;
  lightning::Topology topology_;
  std::shared_ptr<lightning::ControlPlane> control_;
  bool asked_ = false;
};

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments = parse(argc, argv);
  return lightning::run_main([&] {
    lightning::TopologyRequest request;
    request.cluster = "local";
    request.devices = arguments.ranks;
    return Rank(arguments, detect_topology(lightning::current_environment(), request)).run();
  });
}
