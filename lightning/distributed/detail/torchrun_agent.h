/// Communication between a rank and torchrun's agent.
#pragma once

#include <string>

#include <lightning/cluster/topology.h>
#include <lightning/control/detail/connect.h>

namespace lightning::detail {

/// Rank 0's address passes through the agent's store, at MASTER_ADDR:MASTER_PORT. The store's own
/// calls may block indefinitely; these honour a deadline.
LIGHTNING_API Rendezvous agent_rendezvous(const Topology& topology,
                                          std::chrono::milliseconds timeout);

/// Writes why this rank ends to the file that torchrun reads it from (TORCHELASTIC_ERROR_FILE);
/// only the first text counts. Does nothing without that variable.
LIGHTNING_API void write_agent_error(const std::string& text) noexcept;

}  // namespace lightning::detail
