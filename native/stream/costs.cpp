#include "costs.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>

#include "common/checks.hpp"
#include "common/parallel.hpp"

namespace monge {
namespace stream {
namespace {

std::atomic<bool> poisoned{false};

// Up to this dimension differences cost no more than a product, and they are exact.
constexpr std::size_t kDirectDimension = 8;

template <class T>
void pack_panels(const View<const T>& v, std::size_t b, const double* centre, std::size_t m_pad, std::size_t panel,
                 T* out) {
  const std::size_t d = v.columns;
  for (std::size_t first = 0; first < m_pad; first += panel, out += d * panel) {
    for (std::size_t l = 0; l < panel; ++l) {
      const std::size_t j = first + l;
      if (j >= v.rows) {
        for (std::size_t k = 0; k < d; ++k) out[k * panel + l] = T(0);
      } else if (centre) {
        for (std::size_t k = 0; k < d; ++k) out[k * panel + l] = static_cast<T>(v(b, j, k) - centre[k]);
      } else {
        for (std::size_t k = 0; k < d; ++k) out[k * panel + l] = v(b, j, k);
      }
    }
  }
}

template <class T>
double square(const View<const T>& v, std::size_t b, std::size_t i, const double* centre) {
  double sum = 0;
  for (std::size_t k = 0; k < v.columns; ++k) {
    const double t = static_cast<double>(v(b, i, k)) - centre[k];
    sum += t * t;
  }
  return sum;
}

// The largest |v - centre|^2 of a batch.
template <class T>
double radius(const View<const T>& v, std::size_t batch, const std::function<const double*(std::size_t)>& centre,
              int threads) {
  constexpr std::size_t kPiece = 1024;
  const std::size_t pieces = (v.rows + kPiece - 1) / kPiece;
  Buffer<double> top(batch * pieces);
  parallel_for(batch * pieces, 1, static_cast<double>(kPiece * v.columns), threads, [&](std::size_t begin, std::size_t end) {
    for (std::size_t t = begin; t < end; ++t) {
      const std::size_t b = t / pieces, first = t % pieces * kPiece;
      double most = 0;
      for (std::size_t i = first; i < std::min(first + kPiece, v.rows); ++i) {
        most = std::max(most, square(v, b, i, centre(b)));
      }
      top[t] = most;
    }
  });
  return *std::max_element(top.data(), top.data() + batch * pieces);
}

std::size_t problems(bool shared, std::size_t batch) { return shared ? 1 : batch; }

}  // namespace

void set_poison(bool on) { poisoned = on; }

void poison(void* memory, std::size_t bytes) {
  if (poisoned) std::memset(memory, 0xff, bytes);
}

Sizes::Sizes(const CostArrays& costs, const Array& out) {
  constexpr std::size_t most = std::numeric_limits<std::uint32_t>::max();
  const Array& first = costs.first;
  if (first.ndim() != 3 || (costs.second && costs.second->ndim() != 3) || out.ndim() < 2)
    refuse("Costs must be a matrix or two clouds of points, with one dimension of batch in front.");
  batch = out.shape(0);
  n = first.shape(1);
  d = costs.second ? first.shape(2) : 0;
  m = costs.second ? costs.second->shape(1) : first.shape(2);
  check_size("problems", batch, most);
  check_size("rows", n, most);
  check_size("columns", m, most);
  reads(costs.second ? "x" : "the cost", first, n, first.shape(2));
  if (costs.second) reads("y", *costs.second, m, d);
  reads("epsilon", costs.epsilon, 1);
}

void Sizes::reads(const char* name, const Array& array, std::size_t count) const {
  check_shape(name, array, {{batch, true}, {count}});
}

void Sizes::reads(const char* name, const Array& array, std::size_t count, std::size_t width) const {
  check_shape(name, array, {{batch, true}, {count}, {width}});
}

void Sizes::writes(const char* name, const Array& array, std::size_t count) const {
  check_shape(name, array, {{batch}, {count}});
}

void Sizes::writes(const char* name, const Array& array, std::size_t count, std::size_t width) const {
  check_shape(name, array, {{batch}, {count}, {width}});
}

void for_blocks(std::size_t batch, std::size_t n, double work_per_row, int threads,
                const std::function<void(std::size_t, std::size_t, std::size_t)>& body) {
  threads = threads_worth(static_cast<double>(batch * n) * work_per_row, threads);
  std::size_t rows = kBlockRows;
  if (batch == 1 && threads > 1) {
    rows = std::min(rows, round_up((n + 4 * threads - 1) / (4 * static_cast<std::size_t>(threads)), kGroup));
  }
  const std::size_t blocks = (n + rows - 1) / rows;
  parallel_for(batch * blocks, 1, static_cast<double>(rows) * work_per_row, threads, [&](std::size_t begin, std::size_t end) {
    for (std::size_t t = begin; t < end; ++t) {
      const std::size_t first = t % blocks * rows;
      body(t / blocks, first, std::min(rows, n - first));
    }
  });
}

template <class T>
Costs<T>::Costs(const CostArrays& arrays, std::size_t batch, int threads, bool exact, bool turn)
    : batch(batch),
      x_(arrays.first),
      y_(arrays.second ? View<const T>(*arrays.second) : View<const T>()),
      epsilon_(arrays.epsilon),
      p_(arrays.p),
      power_(arrays.power),
      panels_(0),
      squares_(0),
      centre_(0) {
  matrix = !arrays.second;
  if (turn) {
    std::swap(x_.rows, x_.columns);
    std::swap(x_.row_stride, x_.column_stride);
  }
  n = x_.rows;
  m = matrix ? x_.columns : y_.rows;
  d = matrix ? 0 : x_.columns;
  m_pad = round_up(m, tiles<T>().panel);
  rule_ = matrix ? Rule::matrix : arrays.dot ? Rule::dot : Rule::difference;
  if (matrix) return;
  const std::size_t shared = problems(y_.shared(), batch);
  centre_ = Buffer<double>(shared * d);
  // The centre need not be exact: a sample of the points will do.
  const std::size_t stride = std::max<std::size_t>(m / 1024, 1), count = (m + stride - 1) / stride;
  for (std::size_t b = 0; b < shared; ++b) {
    double* centre = centre_.data() + b * d;
    std::fill(centre, centre + d, 0.0);
    if (rule_ == Rule::dot) continue;
    for (std::size_t j = 0; j < m; j += stride) {
      for (std::size_t k = 0; k < d; ++k) centre[k] += static_cast<double>(y_(b, j, k)) / static_cast<double>(count);
    }
  }
  if (rule_ == Rule::difference && p_ == 2 && d > kDirectDimension && !exact) {
    const auto find = [this](std::size_t b) { return this->centre(b); };
    const std::size_t different = x_.shared() && y_.shared() ? 1 : batch;
    const double reach = std::max(radius<T>(x_, different, find, threads), radius<T>(y_, shared, find, threads));
    double least = std::numeric_limits<double>::infinity();
    for (std::size_t b = 0; b < batch; ++b) least = std::min(least, epsilon(b));
    // The error of the square is u R^2; a root magnifies it to at most its own root.
    const double unit = std::numeric_limits<T>::epsilon() / 2;
    const double error =
        std::pow(unit * reach, std::min(1.0, power_ / 2)) * std::max(1.0, std::pow(reach, power_ / 2 - 1));
    const double seen = sizeof(T) == 4 ? 1e-5 : 1e-10;
    if (error <= seen * least) rule_ = Rule::square;
  }
  pack(threads);
}

template <class T>
void Costs<T>::pack(int threads) {
  const std::size_t shared = problems(y_.shared(), batch), panel = tiles<T>().panel, panels = m_pad / panel;
  panels_ = Buffer<T>(shared * m_pad * d);
  squares_ = Buffer<T>(rule_ == Rule::square ? shared * m_pad : 0);
  parallel_for(shared * panels, 16, static_cast<double>(2 * panel * d), threads, [&](std::size_t begin, std::size_t end) {
    for (std::size_t t = begin; t < end; ++t) {
      const std::size_t b = t / panels, first = t % panels * panel;
      View<const T> part = y_;
      part.data += static_cast<std::ptrdiff_t>(first) * y_.row_stride;
      part.rows = std::min(panel, m - first);
      const double* middle = rule_ == Rule::square ? centre(b) : nullptr;
      pack_panels(part, b, middle, panel, panel, panels_.data() + (b * m_pad + first) * d);
      if (!middle) continue;
      for (std::size_t l = 0; l < panel; ++l) {
        squares_[b * m_pad + first + l] = l < part.rows ? static_cast<T>(square(part, b, l, middle)) : T(0);
      }
    }
  });
}

template <class T>
CostRule<T> Costs<T>::rule(std::size_t b) const {
  const std::size_t k = y_.shared() ? 0 : b;
  return {rule_, d, p_, power_, panels_.data() + k * m_pad * d, squares_.data() + k * m_pad};
}

template <class T>
void Costs<T>::load(std::size_t b, std::size_t begin, std::size_t count, const std::int64_t* index,
                    RowBlock<T>& block) const {
  block.count = count;
  const std::size_t padded = round_up(count, kGroup);
  for (std::size_t r = 0; r < padded; ++r) {
    const std::size_t at = begin + std::min(r, count - 1);
    block.index[r] = index ? static_cast<std::size_t>(index[at]) : at;
  }
  if (matrix) return;
  const double* middle = rule_ == Rule::square ? centre(b) : nullptr;
  for (std::size_t r = 0; r < padded; ++r) {
    T* to = block.x.data() + r / kGroup * kGroup * d + r % kGroup;
    const std::size_t i = block.index[r];
    if (middle) {
      for (std::size_t k = 0; k < d; ++k) to[k * kGroup] = static_cast<T>(x_(b, i, k) - middle[k]);
      block.squares[r] = static_cast<T>(square(x_, b, i, middle));
    } else {
      for (std::size_t k = 0; k < d; ++k) to[k * kGroup] = x_(b, i, k);
    }
  }
}

template <class T>
void Costs<T>::tile(std::size_t b, const RowBlock<T>& block, std::size_t group, std::size_t first, std::size_t width,
                    T* buffer, std::size_t ld, const T** row) const {
  const std::size_t* index = block.index + group * kGroup;
  if (!matrix) {
    tiles<T>().cost(rule(b), block.x.data() + group * kGroup * d, block.squares.data() + group * kGroup, first, width,
                    buffer, ld);
    for (std::size_t r = 0; r < kGroup; ++r) row[r] = buffer + r * ld;
    return;
  }
  if (x_.column_stride == 1 && first + width <= m) {
    for (std::size_t r = 0; r < kGroup; ++r) row[r] = &x_(b, index[r], first);
    return;
  }
  // Eight rows of a transposed matrix lie together in memory: columns outside, rows inside.
  const std::size_t inside = std::min(width, m - first);
  for (std::size_t r = 0; r < kGroup; ++r) {
    row[r] = buffer + r * ld;
    std::fill(buffer + r * ld + inside, buffer + r * ld + width, T(0));
  }
  const T* from[kGroup];
  for (std::size_t r = 0; r < kGroup; ++r) from[r] = &x_(b, index[r], first);
  // No hardware foresees steps of a whole matrix row, so the lines that all groups will read in the next tile are asked
  // for here, a page at a time.
  if (group == 0 && first + width < m) {
    const std::size_t next = std::min(width, m - first - width), line = 64 / sizeof(T);
    for (std::size_t j = 0; j < next; ++j) {
      const T* at = &x_(b, index[0], first + width + j);
      for (std::size_t r = 0; r < block.count; r += line) __builtin_prefetch(at + r, 0, 2);
    }
  }
  for (std::size_t j = 0; j < inside; ++j) {
    const std::ptrdiff_t step = static_cast<std::ptrdiff_t>(j) * x_.column_stride;
    for (std::size_t r = 0; r < kGroup; ++r) buffer[r * ld + j] = from[r][step];
  }
}

template <class T>
Columns<T>::Columns(const View<const T>& vector, double factor, std::size_t m_pad)
    : shared_(vector.shared()), m_pad_(m_pad), data_(problems(shared_, vector.batch) * m_pad) {
  for (std::size_t b = 0; b < problems(shared_, vector.batch); ++b) {
    T* to = data_.data() + b * m_pad;
    for (std::size_t j = 0; j < vector.rows; ++j) to[j] = static_cast<T>(vector(b, j) * factor);
    std::fill(to + vector.rows, to + m_pad, -std::numeric_limits<T>::infinity());
  }
}

template <class T>
Values<T>::Values(const View<const T>& v, std::size_t m_pad, const Costs<T>* centred)
    : k(v.columns),
      shared_(v.shared()),
      thin_(k < tiles<T>().lanes),
      m_pad_(m_pad),
      data_(problems(shared_, v.batch) * m_pad * (thin_ ? k : round_up(k, tiles<T>().lanes))) {
  stride = thin_ ? k : round_up(k, tiles<T>().lanes);
  const std::size_t down = thin_ ? 1 : stride, across = thin_ ? m_pad : 1;
  for (std::size_t b = 0; b < problems(shared_, v.batch); ++b) {
    T* to = data_.data() + b * m_pad * stride;
    std::fill(to, to + m_pad * stride, T(0));
    for (std::size_t j = 0; j < v.rows; ++j) {
      for (std::size_t c = 0; c < v.columns; ++c) {
        const T value = v(b, j, c);
        to[j * down + c * across] = centred ? static_cast<T>(value - centred->centre(b)[c]) : value;
      }
    }
  }
}

template <class T>
void Values<T>::accumulate(std::size_t b, const T* w, std::size_t ld, std::size_t rows, std::size_t first,
                           std::size_t width, double* out) const {
  const T* from = data_.data() + (shared_ ? 0 : b) * m_pad_ * stride;
  if (thin_) {
    tiles<T>().thin_product(w, ld, rows, width, from + first, m_pad_, k, out);
  } else {
    tiles<T>().product(w, ld, rows, width, from + first * stride, stride, out);
  }
}

template <class T>
Panels<T>::Panels(const View<const T>& v, std::size_t m_pad)
    : k(v.columns), shared_(v.shared()), m_pad_(m_pad), data_(problems(shared_, v.batch) * m_pad * k) {
  for (std::size_t b = 0; b < problems(shared_, v.batch); ++b) {
    pack_panels(v, b, static_cast<const double*>(nullptr), m_pad, tiles<T>().panel, data_.data() + b * m_pad * k);
  }
}

template class Costs<float>;
template class Costs<double>;
template class Columns<float>;
template class Columns<double>;
template class Values<float>;
template class Values<double>;
template class Panels<float>;
template class Panels<double>;

}  // namespace stream
}  // namespace monge
