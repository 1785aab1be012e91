#include "softmin.hpp"

#include "common/bindings.hpp"
#include "common/unlocked.hpp"

namespace nb = nanobind;

namespace monge {
namespace stream {
namespace {

template <class T>
void softmin(const CostArrays& arrays, const Array& bias_array, const Array& out_array, int threads) {
  const View<const T> bias_view(bias_array);
  const View<T> out(out_array);
  const Costs<T> costs(arrays, out.batch, threads);
  const Columns<T> bias(bias_view, kLog2e, costs.m_pad);
  for_blocks(out.batch, costs.n, row_work(costs.m, costs.d), threads,
             [&](std::size_t b, std::size_t begin, std::size_t count) {
               RowBlock<T> block(costs.d);
               const Buffer<T> buffer(kGroup * tile_width<T>());
               LogSum found[kBlockRows];
               costs.load(b, begin, count, nullptr, block);
               log_sums(costs, b, block, bias.at(b), buffer.data(), found);
               for (std::size_t r = 0; r < count; ++r) {
                 out(b, begin + r) = static_cast<T>(-costs.epsilon(b) * kLn2 * found[r].log2());
               }
             });
}

}  // namespace
}  // namespace stream

void bind_softmin(nb::module_& m) {
  using namespace stream;
  m.def(
      "softmin",
      [](Array first, std::optional<Array> second, bool dot, double p, double power, Array epsilon, Array bias,
         Array out, int threads) {
        const CostArrays costs{first, second, dot, p, power, epsilon};
        const Sizes sizes(costs, out);
        sizes.reads("bias", bias, sizes.m);
        sizes.writes("out", out, sizes.n);
        by_type(first, [&](auto type) {
          const Unlocked unlocked;
          softmin<decltype(type)>(costs, bias, out, threads);
        });
      },
      nb::arg(), nb::arg().none(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(),
      "out = -eps log sum_j exp(bias_j - C_ij / eps); arrays have a leading batch dimension.");
  m.def("limit_instructions", &limit_instructions, "Use no instruction set above 0 baseline, 1 AVX2, 2 AVX-512.");
  m.def("poison_scratch", &set_poison, "Fill scratch memory with NaN, for tests.");
}

}  // namespace monge
