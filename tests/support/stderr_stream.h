/// What the test's own process writes to stderr while an object of this lives; stderr is a terminal
/// (a pty) or a pipe meanwhile.
#pragma once

#include <pty.h>
#include <unistd.h>

#include <cstdio>
#include <stdexcept>
#include <string>
#include <thread>

namespace lightning_tests {

class StderrStream {
 public:
  explicit StderrStream(bool as_terminal) {
    int writer = -1;
    int ends[2] = {-1, -1};
    const winsize size = {.ws_row = 24, .ws_col = 200, .ws_xpixel = 0, .ws_ypixel = 0};
    const int failed =
        as_terminal ? ::openpty(&reader_, &writer, nullptr, nullptr, &size) : ::pipe(ends);
    if (failed != 0) throw std::runtime_error("no pty and no pipe");
    if (!as_terminal) {
      reader_ = ends[0];
      writer = ends[1];
    }
    std::fflush(stderr);
    saved_ = ::dup(STDERR_FILENO);
    ::dup2(writer, STDERR_FILENO);
    ::close(writer);
    // A pty holds a few kilobytes only.
    thread_ = std::thread([this] {
      char buffer[4096];
      for (ssize_t n = 0; (n = ::read(reader_, buffer, sizeof(buffer))) > 0;) {
        text_.append(buffer, static_cast<size_t>(n));
      }
    });
  }
  ~StderrStream() { finish(); }
  StderrStream(const StderrStream&) = delete;
  StderrStream& operator=(const StderrStream&) = delete;

  /// Gives stderr back and returns all that was written; a pty writes "\r\n" for "\n".
  std::string finish() {
    if (saved_ < 0) return text_;
    std::fflush(stderr);
    ::dup2(saved_, STDERR_FILENO);  // the last writer: the reader comes to its end
    ::close(saved_);
    saved_ = -1;
    thread_.join();
    ::close(reader_);
    return text_;
  }

 private:
  int reader_ = -1;
  int saved_ = -1;
  std::string text_;
  std::thread thread_;
};

}  // namespace lightning_tests
