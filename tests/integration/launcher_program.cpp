// Several ranks, each of which does what its script says.
//   launcher_program [--ranks=N] [--grace-ms=N] [--no-run-main] [--from-thread] [--handle-first]
//                    [RANK:ACTION;ACTION;...]...
// Actions: say TEXT, err TEXT, last TEXT (last words), part TEXT (no line end), lines COUNT LENGTH,
// count (of arguments), sleep SECONDS, child (waits until a rank has ended), wait FILE, touch FILE,
// handle (USR1, TERM), signals (a SignalHandler), raise NUMBER, return CODE, leave CODE (_exit),
// lose (DistributedError), again RANKS (launches once more).
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <lightning/cli/run_main.h>
#include <lightning/launch/launch_ranks.h>
#include <lightning/launch/launcher.h>
#include <lightning/run/detail/signals.h>
#include <lightning/util/error.h>

namespace {

struct Arguments {
  int64_t ranks = 2;
  lightning::LaunchOptions options;
  bool run_main = true;
  bool from_thread = false;
  bool handle_first = false;
  std::map<int64_t, std::string> scripts;
  int count = 0;
};

Arguments parse(int argc, char** argv) {
  Arguments result;
  result.count = argc;
  for (int i = 1; i < argc; ++i) {
    const std::string text = argv[i];
    const std::string value = text.substr(text.find('=') + 1);
    if (text.starts_with("--ranks=")) {
      result.ranks = std::stoll(value);
    } else if (text.starts_with("--grace-ms=")) {
      result.options.grace = std::chrono::milliseconds(std::stoll(value));
    } else if (text == "--no-run-main") {
      result.run_main = false;
    } else if (text == "--from-thread") {
      result.from_thread = true;
    } else if (text == "--handle-first") {
      result.handle_first = true;
    } else if (!text.empty()) {
      result.scripts[std::stoll(text)] = text.substr(text.find(':') + 1);
    }
  }
  return result;
}

void write_line(const std::string& text) {
  const std::string line = text + "\n";
  [[maybe_unused]] const auto written = ::write(STDOUT_FILENO, line.data(), line.size());
}

void on_signal(int signal) {
  char text[] = "got 00\n";
  text[4] = static_cast<char>('0' + signal / 10);
  text[5] = static_cast<char>('0' + signal % 10);
  [[maybe_unused]] const auto written = ::write(STDOUT_FILENO, text, sizeof(text) - 1);
}

void handle_signals() {
  struct sigaction action = {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  for (const int signal : {SIGUSR1, SIGTERM}) ::sigaction(signal, &action, nullptr);
}

lightning::Topology topology_of(const Arguments& arguments) {
  const char* rank = std::getenv("LIGHTNING_RANK");
  lightning::Topology topology;
  topology.world_size = topology.local_world_size = arguments.ranks;
  topology.global_rank = topology.local_rank = rank == nullptr ? 0 : std::atoll(rank);
  topology.needs_launch = rank == nullptr;
  return topology;
}

void launch(const lightning::Topology& topology, const lightning::LaunchOptions& options) {
  if (!topology.needs_launch) {
    lightning::watch_launcher();
    write_line(std::string("world ") + std::getenv("LIGHTNING_WORLD_SIZE") + " port " +
               std::getenv("LIGHTNING_MAIN_PORT") + " run " + std::getenv("LIGHTNING_RUN_ID"));
    return;
  }
  const auto ranks = lightning::launch_ranks(topology, options);
  write_line(lightning::detail::concat("world ", ranks.topology.world_size, " port ",
                                       ranks.topology.main_ports.at(0), " run ",
                                       ranks.topology.run_id));
}

void write_lines(int64_t count, size_t length) {
  for (int64_t i = 0; i < count; ++i) {
    std::string line = std::to_string(i) + " ";
    line.append(length, static_cast<char>('a' + i % 26));
    std::printf("%s\n", line.c_str());
  }
  std::fflush(stdout);
}

class Script {
 public:
  explicit Script(const Arguments& arguments) : arguments_(arguments) {}

  int run(const std::string& text) {
    std::istringstream actions(text);
    for (std::string action; std::getline(actions, action, ';');) {
      const size_t space = action.find(' ');
      const std::string rest = space == std::string::npos ? "" : action.substr(space + 1);
      if (action.substr(0, space) == "return") return std::stoi(rest);
      act(action.substr(0, space), rest);
    }
    return 0;
  }

 private:
  void act(const std::string& verb, const std::string& rest) {
    if (verb == "say") write_line(rest);
    if (verb == "err") std::fprintf(stderr, "%s\n", rest.c_str());
    if (verb == "last") lightning::write_final_message(rest);
    if (verb == "part") std::printf("%s", rest.c_str());
    if (verb == "sleep")
      std::this_thread::sleep_for(std::chrono::duration<double>(std::stod(rest)));
    if (verb == "count") write_line(std::to_string(arguments_.count) + " arguments");
    if (verb == "child") {
      siginfo_t info = {};
      ::waitid(P_ALL, 0, &info, WEXITED | WNOWAIT);
    }
    if (verb == "touch") std::ofstream(rest).put('x');
    if (verb == "handle") handle_signals();
    if (verb == "raise") ::raise(std::stoi(rest));
    if (verb == "leave") ::_exit(std::stoi(rest));
    if (verb == "lose") throw lightning::DistributedError("lost rank 7");
    if (verb == "lines") {
      const size_t space = rest.find(' ');
      write_lines(std::stoll(rest), static_cast<size_t>(std::stoll(rest.substr(space + 1))));
    }
    if (verb == "again") {
      lightning::Topology topology = topology_of(arguments_);
      topology.world_size = std::stoll(rest);
      if (topology.needs_launch) launch(topology, arguments_.options);
    }
    if (verb == "wait") {
      while (!std::filesystem::exists(rest)) {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
      }
    }
    if (verb == "signals") {
      const lightning::SignalHandler signals;
      write_line("watching");
      while (signals.pending() == 0) std::this_thread::sleep_for(std::chrono::milliseconds(10));
      write_line(lightning::detail::concat("pending ", signals.pending()));
    }
  }

  const Arguments& arguments_;
};

int body(const Arguments& arguments) {
  if (arguments.handle_first) handle_signals();
  const lightning::Topology topology = topology_of(arguments);
  write_line(lightning::detail::concat("pid ", ::getpid(), " parent ", ::getppid()));
  if (arguments.from_thread) {
    std::thread([&] { launch(topology, arguments.options); }).join();
  } else {
    launch(topology, arguments.options);
  }
  const auto found = arguments.scripts.find(topology.global_rank);
  return found == arguments.scripts.end() ? 0 : Script(arguments).run(found->second);
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments = parse(argc, argv);
  if (!arguments.run_main) return body(arguments);
  return lightning::run_main([&] { return body(arguments); });
}
