/// CapturedStderr: what the process writes to stderr while it lives.
#pragma once

#include <unistd.h>

#include <cstdio>
#include <stdexcept>
#include <string>

namespace lightning_tests {

class CapturedStderr {
 public:
  CapturedStderr() : file_(std::tmpfile()), stderr_(::dup(STDERR_FILENO)) {
    if (file_ == nullptr || stderr_ < 0) throw std::runtime_error("stderr can't be captured");
    std::fflush(stderr);
    ::dup2(::fileno(file_), STDERR_FILENO);
  }
  ~CapturedStderr() {
    std::fflush(stderr);
    ::dup2(stderr_, STDERR_FILENO);
    ::close(stderr_);
    std::fclose(file_);
  }
  CapturedStderr(const CapturedStderr&) = delete;
  CapturedStderr& operator=(const CapturedStderr&) = delete;

  std::string text() const {
    std::fflush(stderr);
    std::string text;
    char buffer[4096];
    // With a separate offset: the writing continues where it was.
    for (ssize_t n = 0; (n = ::pread(::fileno(file_), buffer, sizeof(buffer),
                                     static_cast<off_t>(text.size()))) > 0;) {
      text.append(buffer, static_cast<size_t>(n));
    }
    return text;
  }

 private:
  std::FILE* file_;
  int stderr_;
};

}  // namespace lightning_tests
