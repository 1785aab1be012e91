#include <string>

#include "common/bindings.hpp"
#include "common/checks.hpp"
#include "common/numpy.hpp"
#include "common/parallel.hpp"
#include "common/unlocked.hpp"
#include "proof.hpp"

namespace nb = nanobind;

namespace monge {
namespace {

template <class T, int dimensions>
using Batch = nb::ndarray<T, nb::ndim<dimensions>, nb::c_contig, nb::device::cpu>;

void proof(const Batch<const double, 3>& cost, const Batch<const std::int64_t, 2>& i,
           const Batch<const std::int64_t, 2>& j, const Batch<const double, 2>& w, const Batch<const double, 2>& a,
           const Batch<const double, 2>& b, const Batch<double, 2>& f, const Batch<double, 2>& g,
           const Batch<double, 2>& told, int threads) {
  const std::size_t problems = w.shape(0), entries = w.shape(1), n = cost.shape(1), m = cost.shape(2);
  check_size("rows of the cost", n, most_nodes);
  check_size("columns of the cost", m, most_nodes);
  check_shape("cost", cost, {{problems, true}, {n}, {m}});
  check_shape("a", a, {{problems, true}, {n}});
  check_shape("b", b, {{problems, true}, {m}});
  check_shape("f", f, {{problems}, {n}});
  check_shape("g", g, {{problems}, {m}});
  check_shape("told", told, {{problems}, {facts}});
  for (const auto* ends : {&i, &j}) {
    check_shape(ends == &i ? "i" : "j", *ends, {{problems}, {entries}});
    const std::size_t size = ends == &i ? n : m;
    for (std::size_t k = 0; k < ends->size(); ++k)
      if (ends->data()[k] < 0 || static_cast<std::size_t>(ends->data()[k]) >= size)
        refuse("i and j must lie in the plan, but one is " + std::to_string(ends->data()[k]) + ".");
  }
  const auto row = [](const auto& array, std::size_t k) {
    return array.data() + (array.shape(0) == 1 ? 0 : k) * (array.size() / array.shape(0));
  };
  const Unlocked unlocked;
  parallel_for(problems, 1, 1.0 * n * m + 20.0 * (n + m), threads, [&](std::size_t begin, std::size_t end) {
    for (std::size_t k = begin; k < end; ++k) {
      const MatrixCost pairs(row(cost, k), static_cast<int>(n), static_cast<int>(m));
      prove(pairs, {row(i, k), row(j, k), row(w, k), entries, row(a, k), row(b, k), row(f, k), row(g, k)}, row(told, k));
    }
  });
}

}  // namespace

void bind_proof(nb::module_& m) {
  // Copies of other types would be written in vain.
  const auto array = [] { return nb::arg().noconvert(); };
  m.def("proof", &proof, array(), array(), array(), array(), array(), array(), array(), array(), array(), nb::arg());
}

}  // namespace monge
