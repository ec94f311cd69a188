#include <lightning/util/error.h>

namespace lightning {

// Out of line so that each type has one home (typeinfo is shared across library boundaries).
Error::~Error() = default;
ConfigError::~ConfigError() = default;
DataError::~DataError() = default;
CheckpointError::~CheckpointError() = default;
DistributedError::~DistributedError() = default;

}  // namespace lightning
