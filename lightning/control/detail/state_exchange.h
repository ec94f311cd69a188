/// StateDicts exchanged between ranks: through the control plane, so that it needs no
/// process group and tensors may be of any dtype and differ from rank to rank.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <lightning/control/control_plane.h>
#include <lightning/util/export.h>
#include <lightning/util/state_dict.h>

namespace lightning {

/// The states of all ranks, by rank. Every rank must call it with the same name. Sync: tensors are
/// copied to the host. Throws DistributedError like ControlPlane::all_gather().
LIGHTNING_API std::vector<StateDict> all_gather_object(ControlPlane& control, std::string_view name,
                                                       const StateDict& state);

/// The bytes that carry a state, for one program on machines of one kind (no format to be kept).
LIGHTNING_API std::string to_bytes(const StateDict& state);
/// Throws DistributedError for bytes that to_bytes() did not make.
LIGHTNING_API StateDict state_from_bytes(std::string_view bytes);

}  // namespace lightning
