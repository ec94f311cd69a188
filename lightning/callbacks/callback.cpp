#include <lightning/callbacks/callback.h>

namespace lightning {

Callback::~Callback() = default;

}  // namespace lightning
