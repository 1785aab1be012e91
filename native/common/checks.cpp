#include "checks.hpp"

#include <cstdint>

namespace nb = nanobind;

namespace monge {

void refuse(const std::string& message) {
  PyErr_SetString(nb::module_::import_("monge.errors").attr("ShapeError").ptr(), message.c_str());
  throw nb::python_error();
}

void refuse_shape(const char* name, std::initializer_list<Length> wanted, const std::size_t* shape,
                  std::size_t dimensions) {
  std::string rule, found;
  for (const Length& length : wanted) {
    if (!rule.empty()) rule += ", ";
    rule += length.shared && length.count != 1 ? "1 or " + std::to_string(length.count) : std::to_string(length.count);
  }
  for (std::size_t k = 0; k < dimensions; ++k) found += (k ? ", " : "") + std::to_string(shape[k]);
  refuse(std::string(name) + " must have shape (" + rule + "), but has shape (" + found +
         "): give all arguments the sizes of one problem.");
}

void check_size(const char* name, std::size_t size, std::size_t most) {
  if (size >= 1 && size <= most) return;
  refuse("The number of " + std::string(name) + " must be between 1 and " + std::to_string(most) + ", but is " +
         std::to_string(size) + ": drop empty problems and split larger ones.");
}

}  // namespace monge
