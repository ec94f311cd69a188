/// The library's error types. One form everywhere:
///   <component>: <fact with name and value>, <what was expected>. HINT: <one action>
#pragma once

#include <stdexcept>
#include <string>

#include <lightning/util/export.h>
#include <lightning/util/format.h>

namespace lightning {

/// Base of all errors thrown on purpose by this library.
class LIGHTNING_API Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message) : std::runtime_error(message) {}
  ~Error() override;
};

/// Options, YAML, command line or hook results that can't be used as they are.
class LIGHTNING_API ConfigError : public Error {
 public:
  using Error::Error;
  ~ConfigError() override;
};

/// Input data that is missing, damaged or of the wrong kind; non-finite losses.
class LIGHTNING_API DataError : public Error {
 public:
  using Error::Error;
  ~DataError() override;
};

/// Checkpoints that can't be written, read or applied.
class LIGHTNING_API CheckpointError : public Error {
 public:
  using Error::Error;
  ~CheckpointError() override;
};

/// Failures between ranks.
class LIGHTNING_API DistributedError : public Error {
 public:
  using Error::Error;
  ~DistributedError() override;
};

/// Throws ErrorType with the parts joined, each as format() writes it in {}, when `condition` is
/// false. The parts are evaluated only then.
#define LIGHTNING_CHECK(condition, ErrorType, ...)                            \
  do {                                                                        \
    if (!(condition)) {                                                       \
      throw ::lightning::ErrorType(::lightning::detail::concat(__VA_ARGS__)); \
    }                                                                         \
  } while (false)

}  // namespace lightning
