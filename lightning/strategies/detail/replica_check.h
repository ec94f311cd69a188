/// Whether the ranks have the same model before they exchange tensors: collectives of different
/// shapes hang or end the process.
#pragma once

#include <string>

#include <lightning/control/control_plane.h>

namespace lightning::detail {

/// Compares descriptions over ranks. A description has a line "KEY\tVALUE" for each thing, its key
/// said as in messages ("parameter layer.weight"). Every rank must call it. Throws ConfigError, on
/// all ranks the same, naming the first key that differs and the rank.
void check_equal_on_ranks(ControlPlane& control, const std::string& description);

}  // namespace lightning::detail
