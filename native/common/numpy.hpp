// Arrays that cross the border to Python.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <utility>
#include <vector>

namespace monge {

template <class T, class Shape>
using Input = nanobind::ndarray<const T, Shape, nanobind::c_contig, nanobind::device::cpu>;

// A vector becomes a numpy array that owns it.
template <class T>
nanobind::ndarray<nanobind::numpy, T, nanobind::ndim<1>> to_numpy(std::vector<T>&& values) {
  auto* kept = new std::vector<T>(std::move(values));
  nanobind::capsule owner(kept, [](void* memory) noexcept { delete static_cast<std::vector<T>*>(memory); });
  return nanobind::ndarray<nanobind::numpy, T, nanobind::ndim<1>>(kept->data(), {kept->size()}, owner);
}

template <class T>
std::vector<T> to_vector(const Input<T, nanobind::ndim<1>>& values) {
  return std::vector<T>(values.data(), values.data() + values.size());
}

}  // namespace monge
