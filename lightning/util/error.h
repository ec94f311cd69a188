/// The library's error types. One form everywhere:
///   <component>: <fact with name and value>, <what was expected>. HINT: <one action>
#pragma once

#include <cstdint>
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

/// Why ranks can't continue together.
enum class FailureKind : uint8_t {
  kOther,         // connections, shared memory, processes that can't be started
  kThrew,         // a rank left its run because of an error there
  kExited,        // the process of a rank ended
  kUnresponsive,  // no message of a rank for heartbeat_timeout
  kLate,          // a rank didn't come to an exchange or collective within collective_timeout
  kDisagreement,  // ranks are at different exchanges, collectives or boundaries
  kMissing,       // a rank didn't connect within connect_timeout
  kLeaseLost,     // another SLURM job writes into the run folder now
};

struct Failure {
  FailureKind kind = FailureKind::kOther;
  int64_t rank = -1;  // whose failure it is; -1: of no single one
  std::string text;   // names the rank, and where it was
};

/// Failures between ranks. Every rank of a run gets the same kind, rank and text.
class LIGHTNING_API DistributedError : public Error {
 public:
  explicit DistributedError(const std::string& message) : Error(message) {}
  explicit DistributedError(const Failure& failure)
      : Error(failure.text), kind_(failure.kind), rank_(failure.rank) {}
  ~DistributedError() override;

  Failure failure() const { return {kind_, rank_, what()}; }

 private:
  FailureKind kind_ = FailureKind::kOther;
  int64_t rank_ = -1;
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
