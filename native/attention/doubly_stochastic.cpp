#include "doubly_stochastic.hpp"

#include <nanobind/stl/optional.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "common/bindings.hpp"
#include "common/checks.hpp"
#include "common/numpy.hpp"
#include "common/parallel.hpp"
#include "common/unlocked.hpp"
#include "stream/tiles.hpp"

namespace nb = nanobind;

namespace monge {
namespace stream {

#define MONGE_DECLARE(isa)                                \
  namespace isa {                                         \
  extern const DoublyStochastic<float> float_halves;      \
  extern const DoublyStochastic<double> double_halves;    \
  }
MONGE_DECLARE(baseline)
#ifdef MONGE_X86
MONGE_DECLARE(avx2)
MONGE_DECLARE(avx512)
#define MONGE_CHOOSE(table) \
  instructions() == 2 ? avx512::table : instructions() == 1 ? avx2::table : baseline::table
#else
#define MONGE_CHOOSE(table) baseline::table
#endif

}  // namespace stream

template <>
const DoublyStochastic<float>& doubly_stochastic<float>() {
  using namespace stream;
  return MONGE_CHOOSE(float_halves);
}

template <>
const DoublyStochastic<double>& doubly_stochastic<double>() {
  using namespace stream;
  return MONGE_CHOOSE(double_halves);
}

namespace {

template <class T>
using Matrices = nb::ndarray<T, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using Marks = nb::ndarray<std::uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// Without `upstream`, `out` becomes the plans, and with it the derivatives by the scores.
template <class T>
void run(const Matrices<const T>& scores, const std::optional<Matrices<const T>>& upstream, std::size_t count,
         bool flipped, double range, const Matrices<T>& out, const Marks& left, int threads) {
  const std::size_t problems = scores.shape(0), n = scores.shape(1);
  check_size("rows of the scores", n, most_tokens);
  check_size("half-steps", count, std::size_t{1} << 20);
  check_shape("scores", scores, {{problems}, {n}, {n}});
  check_shape("upstream", upstream, {{problems}, {n}, {n}});
  check_shape("out", out, {{problems}, {n}, {n}});
  check_shape("left", left, {{problems}});
  const HalfSteps<T> steps{n, count, flipped, static_cast<T>(range)};
  const T *from = scores.data(), *along = upstream ? upstream->data() : nullptr;
  T* to = out.data();
  unsigned char* marks = left.data();
  const DoublyStochastic<T>& table = doubly_stochastic<T>();
  const std::size_t groups = (problems + table.lanes - 1) / table.lanes, cells = n * n;
  const double work = (along ? 2.0 : 1.0) * static_cast<double>(count * cells + 20 * cells);
  const Unlocked unlocked;
  parallel_for(groups, 16, work, threads, [&](std::size_t begin, std::size_t end) {
    std::vector<T> room(doubly_stochastic_room(n, count, table.lanes));
    for (std::size_t group = begin; group < end; ++group) {
      const std::size_t first = group * table.lanes, here = std::min(table.lanes, problems - first);
      table.run(steps, from + first * cells, along ? along + first * cells : nullptr, here, to + first * cells,
                marks + first, room.data());
    }
  });
}

}  // namespace

void bind_doubly_stochastic(nb::module_& m) {
  // Copies of other types would be written in vain.
  const auto array = [] { return nb::arg().noconvert(); };
  m.def("doubly_stochastic", &run<float>, array(), array().none(), nb::arg(), nb::arg(), nb::arg(), array(), array(),
        nb::arg());
  m.def("doubly_stochastic", &run<double>, array(), array().none(), nb::arg(), nb::arg(), nb::arg(), array(), array(),
        nb::arg());
}

}  // namespace monge
