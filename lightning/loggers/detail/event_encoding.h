/// TensorBoard's events in the Protocol Buffers encoding, framed as TFRecords: length, its masked
/// checksum, data, its masked checksum. All functions append to `out`.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace lightning::detail {

/// The first record of a file.
void append_file_version(std::string& out, double wall_time);

/// Tells readers to forget values of `step` and later ones that they have seen.
void append_session_start(std::string& out, double wall_time, int64_t step);

/// One scalar of a summary.
void append_scalar(std::string& out, std::string_view tag, float value);
/// One text of a summary, for the text plugin.
void append_text(std::string& out, std::string_view tag, std::string_view text);
/// The record of a summary that was made by the two above.
void append_summary_event(std::string& out, double wall_time, int64_t step,
                          std::string_view summary);

}  // namespace lightning::detail
