#pragma once

/// Adds a spdlog sink to the library's log.
void add_sink();
bool sink_got_messages();
