// Both half-steps of a Sinkhorn iteration in one pass: the terms of a row's sum stay in the cache until the row is
// normalised and added to the column sums.
#include <algorithm>
#include <vector>

#include "common/bindings.hpp"
#include "common/parallel.hpp"
#include "common/unlocked.hpp"
#include "softmin.hpp"

namespace nb = nanobind;

namespace monge {
namespace stream {
namespace {

struct SinkhornArrays {
  Array g, log_a, log_b;      // (batch or 1, n or m)
  Array f, g_new, error;      // (batch, n), (batch, m), (batch, 1) of float64
};

// Rows kept at once: as many as leave their terms in the second-level cache; more where each sweep over the columns is
// dear because their vectors are long.
template <class T>
std::size_t kept_rows(std::size_t m_pad, std::size_t d) {
  const std::size_t cache = d > 16 ? 1 << 20 : 1 << 18;
  const std::size_t rows = cache / (m_pad * sizeof(T)) / kGroup * kGroup;
  return std::min(std::max(rows, kGroup), kBlockRows);
}

// The rows begin .. end of one problem: f, and their share of the column sums.
template <class T>
void one_pass(const Costs<T>& costs, const T* bias, const View<const T>& log_a, const View<T>& f, std::size_t b,
              std::size_t begin, std::size_t end, double* sums) {
  constexpr std::size_t tile = tile_width<T>();
  const std::size_t m_pad = costs.m_pad, kept = kept_rows<T>(m_pad, costs.d), parts = (m_pad + tile - 1) / tile;
  RowBlock<T> block(costs.d);
  const Buffer<T> w(kept * m_pad), top(kept * parts);
  const Buffer<double> part_sum(kept * parts);
  std::fill(sums, sums + m_pad, 0.0);
  for (std::size_t i = begin; i < end; i += kept) {
    const std::size_t count = std::min(kept, end - i);
    costs.load(b, i, count, nullptr, block);
    for (std::size_t t = 0; t < parts; ++t) {
      const std::size_t first = t * tile, width = std::min(m_pad - first, tile);
      for (std::size_t g = 0; g < block.groups(); ++g) {
        const std::size_t rows = block.rows(g), at = (t * kept) + g * kGroup;
        const T* row[kGroup];
        T shift[kGroup];
        T* terms = w.data() + g * kGroup * m_pad + first;
        costs.tile(b, block, g, first, width, terms, m_pad, row);
        tiles<T>().scores(row, rows, width, bias + first, costs.scale(b), terms, m_pad, top.data() + at);
        for (std::size_t r = 0; r < rows; ++r) shift[r] = shift_of(top[at + r]);
        tiles<T>().weights(terms, m_pad, rows, width, shift, part_sum.data() + at);
      }
    }
    for (std::size_t g = 0; g < block.groups(); ++g) {
      const std::size_t rows = block.rows(g);
      LogSum total[kGroup];
      double scale[kGroup];
      for (std::size_t r = 0; r < rows; ++r) {
        for (std::size_t t = 0; t < parts; ++t) {
          const std::size_t at = t * kept + g * kGroup + r;
          total[r].add(top[at], part_sum[at]);
        }
        const std::size_t row = i + g * kGroup + r;
        f(b, row) = static_cast<T>(-costs.epsilon(b) * kLn2 * total[r].log2());
        scale[r] = total[r].sum == 0 ? 0.0 : std::exp(static_cast<double>(log_a(b, row))) / total[r].sum;
      }
      for (std::size_t t = 0; t < parts; ++t) {
        const std::size_t first = t * tile, width = std::min(m_pad - first, tile);
        T factor[kGroup];
        for (std::size_t r = 0; r < rows; ++r) {
          const T above = top[t * kept + g * kGroup + r];
          factor[r] = scale[r] == 0 ? T(0) : static_cast<T>(scale[r] * std::exp2(above - total[r].top));
        }
        tiles<T>().columns(w.data() + g * kGroup * m_pad + first, m_pad, rows, width, factor, sums + first);
      }
    }
  }
}

// The potential of columns whose sum lost its digits, from f in the log domain.
template <class T>
void recompute(const CostArrays& arrays, const SinkhornArrays& io, const std::vector<std::vector<std::int64_t>>& lost,
               int threads) {
  const View<const T> f(io.f), log_a(io.log_a);
  const View<const double> epsilon(arrays.epsilon);
  const View<T> g_new(io.g_new);
  CostArrays turned = arrays;
  if (arrays.second) {
    turned.first = *arrays.second;
    turned.second = arrays.first;
  }
  const Costs<T> costs(turned, g_new.batch, threads, false, /*turn=*/!arrays.second);
  const Buffer<T> bias_data(g_new.batch * costs.m_pad);
  constexpr T infinity = std::numeric_limits<T>::infinity();
  std::vector<std::pair<std::size_t, std::size_t>> blocks;
  for (std::size_t b = 0; b < g_new.batch; ++b) {
    T* bias = bias_data.data() + b * costs.m_pad;
    std::fill(bias, bias + costs.m_pad, -infinity);
    for (std::size_t i = 0; i < costs.m; ++i) {
      const double held = f(b, i), weight = log_a(b, i);
      if (held != infinity && weight != -infinity) bias[i] = static_cast<T>(kLog2e * (held / epsilon(b, 0) + weight));
    }
    for (std::size_t begin = 0; begin < lost[b].size(); begin += kGroup) blocks.emplace_back(b, begin);
  }
  parallel_for(blocks.size(), 1, kGroup * row_work(costs.m, costs.d), threads, [&](std::size_t begin, std::size_t end) {
    RowBlock<T> block(costs.d);
    const Buffer<T> buffer(kGroup * tile_width<T>());
    LogSum found[kGroup];
    for (std::size_t t = begin; t < end; ++t) {
      const auto [b, first] = blocks[t];
      costs.load(b, first, std::min(kGroup, lost[b].size() - first), lost[b].data(), block);
      log_sums(costs, b, block, bias_data.data() + b * costs.m_pad, buffer.data(), found);
      for (std::size_t r = 0; r < block.count; ++r) {
        g_new(b, block.index[r]) = static_cast<T>(-costs.epsilon(b) * kLn2 * found[r].log2());
      }
    }
  });
}

template <class T>
void sinkhorn(const CostArrays& arrays, const SinkhornArrays& io, int threads) {
  const View<const T> g(io.g), log_a(io.log_a), log_b(io.log_b);
  const View<const double> epsilon(arrays.epsilon);
  const View<T> f(io.f), g_new(io.g_new);
  const View<double> error(io.error);
  const std::size_t batch = f.batch;
  const Costs<T> costs(arrays, batch, threads);
  const std::size_t n = costs.n, m = costs.m, m_pad = costs.m_pad;
  constexpr T infinity = std::numeric_limits<T>::infinity();
  const double work = row_work(m, costs.d);  // of a row
  threads = threads_worth(static_cast<double>(batch * n) * work, threads);

  const Buffer<T> bias(batch * m_pad);
  parallel_for(batch, 1, static_cast<double>(2 * m), threads, [&](std::size_t begin, std::size_t end) {
    for (std::size_t b = begin; b < end; ++b) {
      T* to = bias.data() + b * m_pad;
      for (std::size_t j = 0; j < m; ++j) {
        to[j] = static_cast<T>(kLog2e * (static_cast<double>(g(b, j)) / epsilon(b, 0) + log_b(b, j)));
      }
      std::fill(to + m, to + m_pad, -infinity);
    }
  });

  // Each chunk of rows has column sums of its own, added in order, so that the answer does not depend on timing.
  const std::size_t wanted = batch >= static_cast<std::size_t>(threads) ? 1 : 4 * static_cast<std::size_t>(threads);
  const std::size_t rows = round_up((n + wanted - 1) / wanted, kGroup), chunks = (n + rows - 1) / rows;
  const Buffer<double> sums(batch * chunks * m_pad);
  parallel_for(batch * chunks, 1, static_cast<double>(rows) * work, threads, [&](std::size_t begin, std::size_t end) {
    for (std::size_t t = begin; t < end; ++t) {
      const std::size_t b = t / chunks, first = t % chunks * rows;
      one_pass(costs, bias.data() + b * m_pad, log_a, f, b, first, std::min(first + rows, n),
               sums.data() + t * m_pad);
    }
  });

  // Terms under the smallest normal number were dropped: above this sum they cannot be seen.
  const double trusted = static_cast<double>(std::numeric_limits<T>::min()) * static_cast<double>(n) /
                         static_cast<double>(std::numeric_limits<T>::epsilon());
  std::vector<std::vector<std::int64_t>> lost(batch);
  parallel_for(batch, 1, static_cast<double>(m * (chunks + 20)), threads, [&](std::size_t begin, std::size_t end) {
    for (std::size_t b = begin; b < end; ++b) {
      double off = 0;
      for (std::size_t j = 0; j < m; ++j) {
        double column = 0;
        for (std::size_t t = 0; t < chunks; ++t) column += sums[(b * chunks + t) * m_pad + j];
        const double held = g(b, j), weight = log_b(b, j);
        off += std::fabs(column - std::exp(weight));
        if (column > trusted && weight != -infinity && held != -infinity) {
          g_new(b, j) = static_cast<T>(held - epsilon(b, 0) * (std::log(column) - weight));
        } else {
          lost[b].push_back(static_cast<std::int64_t>(j));
        }
      }
      error(b, 0) = off;
    }
  });
  const auto some = [](const std::vector<std::int64_t>& columns) { return !columns.empty(); };
  if (std::any_of(lost.begin(), lost.end(), some)) recompute<T>(arrays, io, lost, threads);
}

}  // namespace
}  // namespace stream

void bind_sinkhorn(nb::module_& m) {
  using namespace stream;
  m.def(
      "sinkhorn",
      [](Array first, std::optional<Array> second, bool dot, double p, double power, Array epsilon, Array g,
         Array log_a, Array log_b, Array f, Array g_new, Array error, int threads) {
        const CostArrays costs{first, second, dot, p, power, epsilon};
        const Sizes sizes(costs, f);
        sizes.reads("g", g, sizes.m);
        sizes.reads("log_a", log_a, sizes.n);
        sizes.reads("log_b", log_b, sizes.m);
        sizes.writes("f", f, sizes.n);
        sizes.writes("g_new", g_new, sizes.m);
        sizes.writes("error", error, 1);
        const SinkhornArrays io{g, log_a, log_b, f, g_new, error};
        by_type(first, [&](auto type) {
          const Unlocked unlocked;
          sinkhorn<decltype(type)>(costs, io, threads);
        });
      },
      nb::arg(), nb::arg().none(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(),
      nb::arg(), nb::arg(), nb::arg(), nb::arg(), "One fused iteration: f, the new g, and the error of the columns.");
}

}  // namespace monge
