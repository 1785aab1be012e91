// The smallest reduced costs of every row, and the entries of a plan above a threshold.
#include <algorithm>
#include <limits>
#include <vector>

#include "common/bindings.hpp"
#include "common/checks.hpp"
#include "common/unlocked.hpp"
#include "costs.hpp"

namespace nb = nanobind;

namespace monge {
namespace stream {
namespace {

// The k largest scores of a row, in falling order; the first come first among equals.
template <class T>
struct Best {
  T* score;
  std::int64_t* index;
  std::size_t k;

  void clear() {
    std::fill(score, score + k, -std::numeric_limits<T>::infinity());
    std::fill(index, index + k, std::int64_t{-1});
  }

  void offer(const T* s, std::size_t width, std::size_t first) {
    std::uint32_t found[tile_width<T>()];
    const std::size_t count = tiles<T>().select(s, width, score[k - 1], found);
    for (std::size_t q = 0; q < count; ++q) {
      if (s[found[q]] > score[k - 1]) insert(s[found[q]], first + found[q]);
    }
  }

  void insert(T value, std::size_t at) {
    std::size_t place = k - 1;
    for (; place > 0 && value > score[place - 1]; --place) {
      score[place] = score[place - 1];
      index[place] = index[place - 1];
    }
    score[place] = value;
    index[place] = static_cast<std::int64_t>(at);
  }
};

template <class T>
void top_k(const CostArrays& arrays, const Array& g_array, const Array& values_array, const Array& index_array,
           int threads) {
  const View<T> values(values_array);
  const View<std::int64_t> index(index_array);
  const Costs<T> costs(arrays, values.batch, threads, /*exact=*/true);
  const Columns<T> g(View<const T>(g_array), 1.0, costs.m_pad);
  const std::size_t k = values.columns;
  constexpr std::size_t ld = tile_width<T>();
  for_blocks(values.batch, costs.n, row_work(costs.m, costs.d), threads,
             [&](std::size_t b, std::size_t begin, std::size_t count) {
               RowBlock<T> block(costs.d);
               const Buffer<T> s(kGroup * ld), score(kBlockRows * k);
               const Buffer<std::int64_t> found(kBlockRows * k);
               costs.load(b, begin, count, nullptr, block);
               for (std::size_t r = 0; r < count; ++r) Best<T>{&score[r * k], &found[r * k], k}.clear();
               for (std::size_t first = 0; first < costs.m_pad; first += ld) {
                 const std::size_t width = std::min(costs.m_pad - first, ld);
                 for (std::size_t group = 0; group < block.groups(); ++group) {
                   const T* row[kGroup];
                   T top[kGroup];
                   costs.tile(b, block, group, first, width, s.data(), ld, row);
                   tiles<T>().scores(row, block.rows(group), width, g.at(b) + first, T(1), s.data(), ld, top);
                   for (std::size_t r = 0; r < block.rows(group); ++r) {
                     const std::size_t at = (group * kGroup + r) * k;
                     if (top[r] > score[at + k - 1]) {
                       Best<T>{&score[at], &found[at], k}.offer(s.data() + r * ld, width, first);
                     }
                   }
                 }
               }
               for (std::size_t r = 0; r < count; ++r) {
                 for (std::size_t q = 0; q < k; ++q) {
                   values(b, begin + r, q) = -score[r * k + q];
                   index(b, begin + r, q) = found[r * k + q];
                 }
               }
             });
}

template <class T>
struct Entries {
  std::vector<std::int64_t> i, j;
  std::vector<T> w;
};

template <class T>
nb::object to_array(std::vector<T>&& data) {
  auto* held = new std::vector<T>(std::move(data));
  nb::capsule owner(held, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
  return nb::cast(nb::ndarray<nb::numpy, T>(held->data(), {held->size()}, owner));
}

template <class T>
nb::tuple extract(const CostArrays& arrays, const Array& row_array, const Array& col_array, const Array& limit_array,
                  int threads) {
  std::vector<std::int64_t> i, j;
  std::vector<T> w;
  {
    const Unlocked unlocked;
    const View<const T> row(row_array), limit(limit_array);
    const Costs<T> costs(arrays, 1, threads);
    const Columns<T> col(View<const T>(col_array), kLog2e, costs.m_pad);
    constexpr std::size_t ld = tile_width<T>();
    const std::size_t blocks = (costs.n + kGroup - 1) / kGroup;
    std::vector<Entries<T>> found(blocks);
    for_blocks(1, costs.n, row_work(costs.m, costs.d), threads,
               [&](std::size_t b, std::size_t begin, std::size_t count) {
                 RowBlock<T> block(costs.d);
                 const Buffer<T> s(kGroup * ld);
                 costs.load(b, begin, count, nullptr, block);
                 for (std::size_t g = 0; g < block.groups(); ++g) {
                   const std::size_t rows = block.rows(g);
                   Entries<T> by_row[kGroup];
                   T shift[kGroup];
                   for (std::size_t r = 0; r < rows; ++r) {
                     shift[r] = static_cast<T>(-kLog2e * row(0, begin + g * kGroup + r));
                   }
                   for (std::size_t first = 0; first < costs.m_pad; first += ld) {
                     const std::size_t width = std::min(costs.m_pad - first, ld);
                     const T* from[kGroup];
                     T top[kGroup];
                     double sums[kGroup];
                     costs.tile(b, block, g, first, width, s.data(), ld, from);
                     tiles<T>().scores(from, rows, width, col.at(b) + first, costs.scale(b), s.data(), ld, top);
                     tiles<T>().free_weights(s.data(), ld, rows, width, shift, sums);
                     for (std::size_t r = 0; r < rows; ++r) {
                       const T least = limit(0, begin + g * kGroup + r);
                       // A tile whose sum does not exceed the threshold has no entry that does.
                       if (least >= 0 && !(sums[r] > least * T(0.999))) continue;
                       for (std::size_t q = 0; q < std::min(width, costs.m - first); ++q) {
                         if (!(s[r * ld + q] > least)) continue;
                         by_row[r].i.push_back(static_cast<std::int64_t>(begin + g * kGroup + r));
                         by_row[r].j.push_back(static_cast<std::int64_t>(first + q));
                         by_row[r].w.push_back(s[r * ld + q]);
                       }
                     }
                   }
                   Entries<T>& all = found[(begin + g * kGroup) / kGroup];
                   for (std::size_t r = 0; r < rows; ++r) {
                     all.i.insert(all.i.end(), by_row[r].i.begin(), by_row[r].i.end());
                     all.j.insert(all.j.end(), by_row[r].j.begin(), by_row[r].j.end());
                     all.w.insert(all.w.end(), by_row[r].w.begin(), by_row[r].w.end());
                   }
                 }
               });
    std::size_t total = 0;
    for (const auto& part : found) total += part.i.size();
    i.reserve(total);
    j.reserve(total);
    w.reserve(total);
    for (const auto& part : found) {
      i.insert(i.end(), part.i.begin(), part.i.end());
      j.insert(j.end(), part.j.begin(), part.j.end());
      w.insert(w.end(), part.w.begin(), part.w.end());
    }
  }
  return nb::make_tuple(to_array(std::move(i)), to_array(std::move(j)), to_array(std::move(w)));
}

}  // namespace
}  // namespace stream

void bind_top_k(nb::module_& m) {
  using namespace stream;
  m.def(
      "top_k",
      [](Array first, std::optional<Array> second, bool dot, double p, double power, Array epsilon, Array g,
         Array values, Array index, int threads) {
        const CostArrays costs{first, second, dot, p, power, epsilon};
        const Sizes sizes(costs, values);
        check_size("smallest costs of a row", width_of(values), sizes.m);
        sizes.reads("g", g, sizes.m);
        sizes.writes("values", values, sizes.n, width_of(values));
        sizes.writes("index", index, sizes.n, width_of(values));
        by_type(first, [&](auto type) {
          const Unlocked unlocked;
          top_k<decltype(type)>(costs, g, values, index, threads);
        });
      },
      nb::arg(), nb::arg().none(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(),
      nb::arg(), "The k smallest of C_ij - g_j in every row, ascending; k is the width of `values`.");
  m.def(
      "extract",
      [](Array first, std::optional<Array> second, bool dot, double p, double power, Array epsilon, Array row,
         Array col, Array limit, int threads) {
        const CostArrays costs{first, second, dot, p, power, epsilon};
        const Sizes sizes(costs, row);
        if (sizes.batch != 1) refuse("The entries of one plan can be extracted at a time, not those of a batch.");
        sizes.reads("row", row, sizes.n);
        sizes.reads("col", col, sizes.m);
        sizes.reads("limit", limit, sizes.n);
        nb::tuple found;
        by_type(first, [&](auto type) { found = extract<decltype(type)>(costs, row, col, limit, threads); });
        return found;
      },
      nb::arg(), nb::arg().none(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(),
      nb::arg(), "The entries above a threshold: i, j, w in row-major order.");
}

}  // namespace monge
