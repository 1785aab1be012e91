// What loops ask of the arrays that Python hands them, before they touch any memory.
#pragma once

#include <nanobind/nanobind.h>

#include <cstddef>
#include <initializer_list>
#include <optional>
#include <string>

namespace monge {

// How long a dimension must be; one that all problems of a batch may share may also be one.
struct Length {
  std::size_t count;
  bool shared = false;
};

// Throws the ShapeError of the package; needs the interpreter lock, as all checks do.
[[noreturn]] void refuse(const std::string& message);

[[noreturn]] void refuse_shape(const char* name, std::initializer_list<Length> wanted, const std::size_t* shape,
                               std::size_t dimensions);

template <class Array>
void check_shape(const char* name, const Array& array, std::initializer_list<Length> wanted) {
  bool fits = array.ndim() == wanted.size();
  std::size_t shape[8] = {}, k = 0;
  for (; k < array.ndim() && k < 8; ++k) shape[k] = array.shape(k);
  k = 0;
  for (const Length& length : wanted) {
    if (fits) fits = shape[k] == length.count || (length.shared && shape[k] == 1);
    ++k;
  }
  if (!fits) refuse_shape(name, wanted, shape, array.ndim() < 8 ? array.ndim() : 8);
}

template <class Array>
void check_shape(const char* name, const std::optional<Array>& array, std::initializer_list<Length> wanted) {
  if (array) check_shape(name, *array, wanted);
}

// A size that must not be zero, nor too large for the numbers that count it.
void check_size(const char* name, std::size_t size, std::size_t most);

}  // namespace monge
