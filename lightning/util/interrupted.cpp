#include <lightning/util/interrupted.h>

namespace lightning {

Interrupted::Interrupted(int signal, const std::string& message)
    : Interrupted(signal, message, 128 + signal) {}

Interrupted::Interrupted(int signal, const std::string& message, int exit_code)
    : Error(message), signal_(signal), exit_code_(exit_code) {}

Interrupted::~Interrupted() = default;

}  // namespace lightning
