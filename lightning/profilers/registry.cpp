#include <lightning/profilers/registry.h>

namespace lightning {

config::Registry<Profiler>& profiler_registry() {
  static config::Registry<Profiler> registry("profiler");
  return registry;
}

}  // namespace lightning
