/// What --version prints.
#pragma once

#include <string>

#include <lightning/util/export.h>

namespace lightning {

/// The library, what it was built with, and what it can use on this machine, a line each.
LIGHTNING_API std::string version_text();

}  // namespace lightning
