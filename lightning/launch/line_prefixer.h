/// LinePrefixer: turns a stream of bytes into whole lines with a prefix.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include <lightning/util/export.h>

namespace lightning::detail {

class LIGHTNING_API LinePrefixer {
 public:
  /// Gets one or more whole lines, at most PIPE_BUF bytes unless one line is longer: a pipe takes
  /// so many without mixing them with another process's.
  using Sink = std::function<void(std::string_view lines)>;

  LinePrefixer(std::string prefix, Sink sink);

  void feed(std::string_view bytes);
  /// Writes what is left of a last line without an end.
  void finish();

 private:
  void add_line(std::string_view line);
  void flush();

  std::string prefix_;
  Sink sink_;
  std::string partial_;  // the beginning of the next line
  std::string lines_;    // whole lines, not yet written
};

}  // namespace lightning::detail
