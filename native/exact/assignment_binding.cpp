#include <algorithm>
#include <atomic>
#include <vector>

#include "assignment.hpp"
#include "common/bindings.hpp"
#include "common/checks.hpp"
#include "common/numpy.hpp"
#include "common/parallel.hpp"
#include "common/unlocked.hpp"
#include "reduced.hpp"

namespace nb = nanobind;

namespace monge {
namespace {

template <class T, int dimensions>
using Batch = nb::ndarray<T, nb::ndim<dimensions>, nb::c_contig, nb::device::cpu>;

// Solves every problem; returns the number of the first one without a feasible permutation, or -1.
template <class Real>
std::int64_t assignment(const Batch<const Real, 3>& cost, const Batch<std::int64_t, 2>& perm,
                        const Batch<double, 2>& f, const Batch<double, 2>& g, int threads) {
  const std::size_t problems = cost.shape(0), n = cost.shape(1);
  if (n > 0) check_size("rows of the cost", n, most_nodes);
  check_shape("cost", cost, {{problems}, {n}, {n}});
  check_shape("perm", perm, {{problems}, {n}});
  check_shape("f", f, {{problems}, {n}});
  check_shape("g", g, {{problems}, {n}});
  const Real* costs = cost.data();
  std::int64_t* first_perm = perm.data();
  double *first_f = f.data(), *first_g = g.data();
  const Unlocked unlocked;
  std::atomic<std::int64_t> infeasible{static_cast<std::int64_t>(problems)};
  parallel_for(problems, 1, 10.0 * n * (n + 10), threads, [&](std::size_t begin, std::size_t end) {
    std::vector<double> room;
    for (std::size_t k = begin; k < end; ++k) {
      const double* matrix;
      if constexpr (std::is_same_v<Real, double>) {
        matrix = costs + k * n * n;
      } else {
        room.assign(costs + k * n * n, costs + (k + 1) * n * n);
        matrix = room.data();
      }
      const int size = static_cast<int>(n);
      const Reduced reduced(matrix, size, size, room);
      const MatrixCost pairs(reduced.cost(), size, size);
      Assignment problem(pairs);
      if (!problem.solve()) {
        std::int64_t seen = infeasible.load();
        while (static_cast<std::int64_t>(k) < seen && !infeasible.compare_exchange_weak(seen, k)) {
        }
        continue;
      }
      std::copy_n(problem.column_of_row().begin(), n, first_perm + k * n);
      for (int i = 0; i < size; ++i) {
        first_f[k * n + i] = reduced.f(i, problem.f()[i]);
        first_g[k * n + i] = reduced.g(i, problem.g()[i]);
      }
    }
  });
  const std::int64_t found = infeasible.load();
  return found == static_cast<std::int64_t>(problems) ? -1 : found;
}

}  // namespace

void bind_assignment(nb::module_& m) {
  // Copies of other types would be written in vain.
  const auto array = [] { return nb::arg().noconvert(); };
  m.def("assignment", &assignment<float>, array(), array(), array(), array(), nb::arg());
  m.def("assignment", &assignment<double>, array(), array(), array(), array(), nb::arg());
}

}  // namespace monge
