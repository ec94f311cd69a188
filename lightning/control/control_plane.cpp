#include <lightning/control/control_plane.h>

#include <lightning/util/error.h>

namespace lightning {

ControlPlane::~ControlPlane() = default;

void ControlPlane::throw_if_failed() const {
  if (failed()) throw DistributedError(failure());
}

}  // namespace lightning
