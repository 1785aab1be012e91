// What each source file adds to the extension module.
#pragma once

#include <nanobind/nanobind.h>

namespace monge {

}  // namespace monge
