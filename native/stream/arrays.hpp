// Borrowed arrays of Python and scratch memory of our own.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <type_traits>

namespace monge {
namespace stream {

using Array = nanobind::ndarray<nanobind::device::cpu>;

// (batch, rows, columns) with strides in elements; a stride of zero broadcasts. Vectors have one column.
template <class T>
struct View {
  T* data = nullptr;
  std::size_t batch = 0, rows = 0, columns = 0;
  std::ptrdiff_t batch_stride = 0, row_stride = 0, column_stride = 0;

  View() = default;
  explicit View(const Array& array)
      : data(static_cast<T*>(array.data())),
        batch(array.shape(0)),
        rows(array.shape(1)),
        columns(array.ndim() > 2 ? array.shape(2) : 1),
        batch_stride(array.shape(0) > 1 ? array.stride(0) : 0),
        row_stride(array.stride(1)),
        column_stride(array.ndim() > 2 ? array.stride(2) : 1) {
    if (array.dtype() != nanobind::dtype<std::remove_const_t<T>>()) {
      throw nanobind::type_error("the arrays of one native call must share their dtype");
    }
  }

  bool shared() const { return batch_stride == 0; }
  T* at(std::size_t b) const { return data + static_cast<std::ptrdiff_t>(b) * batch_stride; }
  T& operator()(std::size_t b, std::size_t i, std::size_t k = 0) const {
    return at(b)[static_cast<std::ptrdiff_t>(i) * row_stride + static_cast<std::ptrdiff_t>(k) * column_stride];
  }
};

// Calls function(T{}) for the floating type of an array.
template <class Function>
void by_type(const Array& array, Function&& function) {
  if (array.dtype() == nanobind::dtype<float>()) {
    function(float{});
  } else if (array.dtype() == nanobind::dtype<double>()) {
    function(double{});
  } else {
    throw nanobind::type_error("native kernels read float32 and float64 only");
  }
}

// Tests fill scratch memory with NaN, so that reading what was never written shows.
void set_poison(bool on);
void poison(void* memory, std::size_t bytes);

// Aligned memory without a defined content.
template <class T>
class Buffer {
 public:
  explicit Buffer(std::size_t count) : bytes_(new char[count * sizeof(T) + kAlignment]) {
    const auto address = reinterpret_cast<std::uintptr_t>(bytes_.get());
    data_ = reinterpret_cast<T*>((address + kAlignment - 1) / kAlignment * kAlignment);
    poison(data_, count * sizeof(T));
  }

  T* data() const { return data_; }
  T& operator[](std::size_t k) const { return data_[k]; }

 private:
  static constexpr std::size_t kAlignment = 64;
  std::unique_ptr<char[]> bytes_;
  T* data_;
};

}  // namespace stream
}  // namespace monge
