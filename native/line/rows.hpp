// Rows of one-dimensional problems as Python hands them over.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>

#include <optional>

#include "common/checks.hpp"

namespace monge {

template <class T>
using Rows = nanobind::ndarray<T, nanobind::ndim<2>, nanobind::c_contig, nanobind::device::cpu>;

template <class Array>
auto pointer(const std::optional<Array>& array) {
  return array ? array->data() : nullptr;
}

// An argument that is read or written where it lies: a copy of other type would be written in vain.
inline nanobind::arg array(const char* name = nullptr) {
  nanobind::arg made(name);
  made.noconvert();
  return made;
}

// The index of an atom is kept in 32 bits, and so is its place among those of both sides.
constexpr std::size_t most_points = 0x7fffffff;

// Points of both sides and their weights, one row of weights for each problem or for all of them.
template <class Real>
void check_sides(const Rows<const Real>& x, const Rows<const Real>& y, const std::optional<Rows<const double>>& a,
                 const std::optional<Rows<const double>>& b) {
  check_size("columns of x", x.shape(1), most_points);
  check_size("columns of y", y.shape(1), most_points);
  check_shape("y", y, {{x.shape(0)}, {y.shape(1)}});
  check_shape("a", a, {{x.shape(0), true}, {x.shape(1)}});
  check_shape("b", b, {{x.shape(0), true}, {y.shape(1)}});
}

// Numbers for each point of both sides, which are wanted together or not at all.
template <class Real, class Number>
void check_found(const Rows<const Real>& x, const Rows<const Real>& y, const std::optional<Rows<Number>>& of_x,
                 const std::optional<Rows<Number>>& of_y) {
  if (of_x.has_value() != of_y.has_value()) refuse("Derivatives must be wanted of both sides, or of none.");
  check_shape("a derivative by x or a", of_x, {{x.shape(0)}, {x.shape(1)}});
  check_shape("a derivative by y or b", of_y, {{y.shape(0)}, {y.shape(1)}});
}

}  // namespace monge
