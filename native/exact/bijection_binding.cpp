#include <algorithm>

#include "bijection.hpp"
#include "common/bindings.hpp"
#include "common/checks.hpp"
#include "common/numpy.hpp"
#include "common/unlocked.hpp"

namespace nb = nanobind;

namespace monge {
namespace {

template <class T, int dimensions>
using Output = nb::ndarray<T, nb::ndim<dimensions>, nb::c_contig, nb::device::cpu>;

// False if it was given up, and nothing is written.
bool bijection(const Input<double, nb::ndim<2>>& x, const Input<double, nb::ndim<2>>& y,
               const Input<double, nb::ndim<1>>& start_f, const Input<double, nb::ndim<1>>& start_g,
               const Output<std::int64_t, 1>& perm, const Output<double, 1>& f, const Output<double, 1>& g,
               int threads) {
  const std::size_t n = x.shape(0), d = x.shape(1);
  check_size("points", n, most_nodes);
  check_size("coordinates", d, most_nodes);
  check_shape("y", y, {{n}, {d}});
  check_shape("the guess of f", start_f, {{n}});
  check_shape("the guess of g", start_g, {{n}});
  check_shape("perm", perm, {{n}});
  check_shape("f", f, {{n}});
  check_shape("g", g, {{n}});
  const Unlocked unlocked;
  Bijection problem(x.data(), y.data(), start_f.data(), start_g.data(), static_cast<int>(n), static_cast<int>(d),
                    threads);
  if (!problem.solve()) return false;
  std::copy_n(problem.partner().begin(), n, perm.data());
  std::copy_n(problem.f().begin(), n, f.data());
  std::copy_n(problem.g().begin(), n, g.data());
  return true;
}

}  // namespace

void bind_bijection(nb::module_& m) {
  const auto array = [] { return nb::arg().noconvert(); };
  m.def("bijection", &bijection, array(), array(), array(), array(), array(), array(), array(), nb::arg());
}

}  // namespace monge
