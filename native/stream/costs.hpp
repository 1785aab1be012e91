// The costs of a batch of problems, made ready to be read tile by tile.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>

#include "arrays.hpp"
#include "tiles.hpp"

namespace monge {
namespace stream {

constexpr double kLog2e = 1.4426950408889634074, kLn2 = 0.69314718055994530942;
constexpr std::size_t kBlockRows = 64;  // rows of a task: the columns of a tile are read once for all of them

inline std::size_t round_up(std::size_t count, std::size_t to) { return (count + to - 1) / to * to; }

// What Python says about the costs: a stored matrix, or two clouds with a rule.
struct CostArrays {
  Array first;
  std::optional<Array> second;
  bool dot;
  double p, power;
  Array epsilon;  // (batch, 1) of float64; ignored where there is none
};

// The sizes of a call: those of its costs, and the number of problems that its first output holds. Arrays have one
// dimension of batch in front, of length one where all problems share what is read.
struct Sizes {
  std::size_t batch, n, m, d;

  // Refuses costs that no loop could read.
  Sizes(const CostArrays& costs, const Array& out);
  // One number for each row or column, or `width` of them.
  void reads(const char* name, const Array& array, std::size_t count) const;
  void reads(const char* name, const Array& array, std::size_t count, std::size_t width) const;
  void writes(const char* name, const Array& array, std::size_t count) const;
  void writes(const char* name, const Array& array, std::size_t count, std::size_t width) const;
};

// The number of columns of values; zero, which fits nothing, where there are none.
inline std::size_t width_of(const Array& values) { return values.ndim() == 3 ? values.shape(2) : 0; }

// Rows gathered for the kernels: groups of eight, coordinates packed as x[k * kGroup + r], the last row repeated.
template <class T>
struct RowBlock {
  explicit RowBlock(std::size_t d) : x(kBlockRows * d), squares(kBlockRows) {}
  std::size_t count = 0;
  std::size_t index[kBlockRows];
  Buffer<T> x, squares;

  std::size_t groups() const { return (count + kGroup - 1) / kGroup; }
  std::size_t rows(std::size_t group) const {
    const std::size_t left = count - group * kGroup;
    return left < kGroup ? left : kGroup;
  }
};

template <class T>
class Costs {
 public:
  // `exact` forbids the expansion |x|^2 - 2 <x, y> + |y|^2; otherwise it is used where its rounding cannot be seen.
  // `turn` transposes a stored matrix.
  Costs(const CostArrays& arrays, std::size_t batch, int threads, bool exact = false, bool turn = false);

  std::size_t batch, n, m, d, m_pad;
  bool matrix;
  double epsilon(std::size_t b) const { return epsilon_(b, 0); }
  T scale(std::size_t b) const { return static_cast<T>(kLog2e / epsilon(b)); }
  CostRule<T> rule(std::size_t b) const;
  const double* centre(std::size_t b) const { return centre_.data() + (y_.shared() ? 0 : b) * d; }
  const View<const T>& x() const { return x_; }
  const View<const T>& y() const { return y_; }

  // Rows begin, begin + 1, ... or index[begin], ... of problem b.
  void load(std::size_t b, std::size_t begin, std::size_t count, const std::int64_t* index, RowBlock<T>& block) const;

  // Points row[r] at the costs of one group of rows and `width` columns: into `buffer`, or into the matrix itself.
  void tile(std::size_t b, const RowBlock<T>& block, std::size_t group, std::size_t first, std::size_t width, T* buffer,
            std::size_t ld, const T** row) const;

 private:
  void pack(int threads);

  View<const T> x_, y_;  // a matrix lies in x_
  View<const double> epsilon_;
  Rule rule_;
  double p_, power_;
  Buffer<T> panels_, squares_;
  Buffer<double> centre_;
};

// Column vectors times a factor, padded with -inf, so that padding never counts.
template <class T>
class Columns {
 public:
  Columns(const View<const T>& vector, double factor, std::size_t m_pad);
  const T* at(std::size_t b) const { return data_.data() + (shared_ ? 0 : b) * m_pad_; }

 private:
  bool shared_;
  std::size_t m_pad_;
  Buffer<T> data_;
};

// Columns of values in the layout that multiplying tiles wants; padding is zero.
template <class T>
class Values {
 public:
  // From points of `centred` their centre is subtracted.
  Values(const View<const T>& v, std::size_t m_pad, const Costs<T>* centred = nullptr);

  std::size_t k, stride;  // values, and length of a row of results
  // out[r * stride + c] += sum_j w_rj v_jc over the columns of one tile.
  void accumulate(std::size_t b, const T* w, std::size_t ld, std::size_t rows, std::size_t first, std::size_t width,
                  double* out) const;

 private:
  bool shared_, thin_;
  std::size_t m_pad_;
  Buffer<T> data_;
};

// Vectors of the columns in panels, for products with vectors of the rows.
template <class T>
class Panels {
 public:
  Panels(const View<const T>& v, std::size_t m_pad);
  std::size_t k;
  const T* at(std::size_t b) const { return data_.data() + (shared_ ? 0 : b) * m_pad_ * k; }

 private:
  bool shared_;
  std::size_t m_pad_;
  Buffer<T> data_;
};

// What reading a row of costs takes, in elementary steps: `width` coordinates or columns of values lie behind an entry.
inline double row_work(std::size_t m, std::size_t width) {
  return static_cast<double>(m) * (1 + static_cast<double>(width) / 8);
}

// Calls body(problem, first row, number of rows) for blocks of at most kBlockRows rows, in parallel.
void for_blocks(std::size_t batch, std::size_t n, double work_per_row, int threads,
                const std::function<void(std::size_t, std::size_t, std::size_t)>& body);

}  // namespace stream
}  // namespace monge
