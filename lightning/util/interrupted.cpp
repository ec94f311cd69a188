#include <lightning/util/interrupted.h>

namespace lightning {

Interrupted::Interrupted(int signal, const std::string& message)
    : Error(message), signal_(signal) {}

Interrupted::~Interrupted() = default;

}  // namespace lightning
