#include <lightning/cli/run_main.h>

#include <cstdio>
#include <exception>
#include <string>
#include <string_view>

#include <c10/util/Exception.h>

#include <lightning/distributed/world.h>
#include <lightning/launch/deferred_termination.h>
#include <lightning/launch/launcher.h>
#include <lightning/launch/peer_failure.h>
#include <lightning/util/detail/printable.h>
#include <lightning/util/detail/terminal.h>
#include <lightning/util/error.h>
#include <lightning/util/exit_codes.h>
#include <lightning/util/interrupted.h>

namespace lightning {
namespace {

int report(std::string_view prefix, std::string_view message, int exit_code) {
  while (!message.empty() && message.back() == '\n') message.remove_suffix(1);
  std::fflush(stdout);
  detail::write_to_stderr(detail::concat(prefix, detail::printable(message), "\n"));
  return exit_code;
}

int report(const DistributedError& error) {
  detail::report_peer_failure(error.what());
  return kPeerFailureExitCode;
}

int run(const std::function<int()>& body) {
  try {
    return body();
  } catch (const Interrupted& error) {
    // All ranks stopped for the same reason, and rank 0 reports it.
    const auto world = World::current();
    const bool prints_errors = world == nullptr || world->topology().global_rank == 0;
    return prints_errors ? report("", error.what(), error.exit_code()) : error.exit_code();
  } catch (const DistributedError& error) {
    return report(error);
  } catch (const ConfigError& error) {
    return report("error: ", error.what(), kUsageExitCode);
  } catch (const c10::Error& error) {
    return report("error: ", error.what_without_backtrace(), kFailureExitCode);
  } catch (const std::exception& error) {
    return report("error: ", error.what(), kFailureExitCode);
  } catch (...) {
    return report("error: ", "uncaught exception of an unknown type", kFailureExitCode);
  }
}

}  // namespace

int run_main(const std::function<int()>& body) {
  watch_launcher();
  int exit_code;
  {
    const detail::DeferredTermination deferred;
    exit_code = run(body);
    const std::string lost = World::leave(exit_code);
    // What ended the body otherwise was told. A signal may be the launcher's answer to the loss.
    if (!lost.empty() && exit_code == 0) {
      exit_code = report(DistributedError(lost));
    } else if (!lost.empty() && exit_code > 128) {
      report(DistributedError(lost));
    }
  }
  return finish_launched_ranks(exit_code);
}

int run_main(int argc, char** argv, const std::function<int(int, char**)>& body) {
  return run_main([&] { return body(argc, argv); });
}

}  // namespace lightning
