#include <lightning/distributed/world.h>

#include <unistd.h>

#include <cstdlib>
#include <mutex>
#include <string>
#include <utility>

#include <lightning/control/detail/connect.h>
#include <lightning/control/detail/fake_control_plane.h>
#include <lightning/control/detail/state_exchange.h>
#include <lightning/distributed/detail/torchrun_agent.h>
#include <lightning/launch/deferred_termination.h>
#include <lightning/launch/launch_ranks.h>
#include <lightning/launch/launcher.h>
#include <lightning/util/error.h>
#include <lightning/util/log.h>

namespace lightning {
namespace {

std::mutex world_mutex;

/// Never destroyed: at the end of a process the threads of Gloo and the control plane may still
/// run.
std::shared_ptr<World>& the_world() {
  static auto* world = new std::shared_ptr<World>();
  return *world;
}

void check_same_world(const World& world, const Topology& topology, const at::Device& device,
                      const at::Device& own_device) {
  LIGHTNING_CHECK(
      world.topology().world_size == topology.world_size && device.type() == own_device.type(),
      ConfigError, "world: ", topology.world_size, " ranks on ", device.str(),
      " are requested, expected the ", world.topology().world_size, " ranks on ", own_device.str(),
      " that this process has joined before. HINT: give all Trainers of a program the same devices "
      "and num_nodes.");
}

ProcessGroupBackend backend_for(const Topology& topology, ProcessGroupBackend wanted) {
  LIGHTNING_CHECK(topology.single_node() || wanted != ProcessGroupBackend::kSharedMemory,
                  ConfigError, "world: process_group_backend is shared_memory on ",
                  topology.num_nodes, " nodes, expected one node. HINT: set it to auto or gloo.");
  return topology.single_node() ? wanted : ProcessGroupBackend::kGloo;
}

// A program that ended by a signal's code (128 + n) did so after all ranks agreed to stop.
bool is_failure(int exit_code) { return exit_code != 0 && exit_code < 128; }

}  // namespace

std::shared_ptr<World> World::current() {
  const std::lock_guard lock(world_mutex);
  return the_world();
}

std::shared_ptr<World> World::join(const Topology& topology, const WorldOptions& options) {
  const std::lock_guard lock(world_mutex);
  std::shared_ptr<World>& current = the_world();
  if (current != nullptr) {
    check_same_world(*current, topology, options.device, current->device_);
    return current;
  }
  watch_launcher();
  std::shared_ptr<World> world(new World());
  world->topology_ = topology;
  world->device_ = options.device;
  try {
    world->connect(options);
  } catch (const std::exception& error) {
    // The others learn why this rank doesn't come.
    if (world->control_ != nullptr) world->control_->fail(error.what());
    detail::write_agent_error(error.what());
    throw;
  }
  current = std::move(world);
  static const pid_t owner = ::getpid();
  ::on_exit(
      [](int exit_code, void*) {
        if (::getpid() != owner) return;
        if (const std::string lost = World::leave(exit_code); !lost.empty()) log_warning(lost);
      },
      nullptr);
  return current;
}

std::shared_ptr<World> World::from_parts(const Topology& topology, const at::Device& device,
                                         std::shared_ptr<ControlPlane> control,
                                         std::shared_ptr<ProcessGroup> group) {
  std::shared_ptr<World> world(new World());
  world->topology_ = topology;
  world->device_ = device;
  world->control_ = std::move(control);
  world->group_ = std::move(group);
  return world;
}

std::shared_ptr<World> World::fake(const Topology& topology, const at::Device& device) {
  return from_parts(topology, device,
                    std::make_shared<detail::FakeControlPlane>(topology.world_size),
                    ProcessGroup::fake(0, topology.world_size));
}

std::string World::leave(int exit_code) noexcept {
  try {
    std::shared_ptr<World> world;
    {
      const std::lock_guard lock(world_mutex);
      world = the_world();
      if (world == nullptr || std::exchange(world->left_, true)) return {};
    }
    ControlPlane& control = world->control();
    if (is_failure(exit_code) && !control.failed()) {
      control.fail(detail::concat("the program ended with exit code ", exit_code));
    }
    control.leave();
    // A failure that this rank has not met yet: it came after the last collective.
    if (control.failed() && !is_failure(exit_code)) return control.failure().text;
    detail::DeferredTermination::set_has_peers(false);
    return {};
  } catch (const std::exception& error) {
    return error.what();
  }
}

std::vector<StateDict> World::all_gather(std::string_view name, const StateDict& state) {
  return all_gather_object(*control_, name, state);
}

void World::connect(const WorldOptions& options) {
  const ProcessGroupBackend backend = backend_for(topology_, options.process_group_backend);
  Socket listener;
  if (topology_.needs_launch) {
    LaunchedRanks launched = launch_ranks(topology_);
    topology_ = std::move(launched.topology);
    listener = std::move(launched.listener);
  }
  detail::Rendezvous rendezvous;
  if (topology_.agent_store) {
    rendezvous = detail::agent_rendezvous(topology_, options.control.connect_timeout);
  }
  control_ = detail::connect_control_plane(topology_, options.control, std::move(listener),
                                           std::move(rendezvous));
  group_ = ProcessGroup::create(control_, options.device, backend);
  detail::DeferredTermination::set_has_peers(topology_.world_size > 1);
  control_->set_failure_handler([weak = std::weak_ptr(group_)](const Failure& failure) {
    if (const auto group = weak.lock()) group->fail(failure);
    detail::write_agent_error(failure.text);
  });
}

}  // namespace lightning
