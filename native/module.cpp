// The extension module: every native kernel registers itself here, and nowhere else.
#include "common/bindings.hpp"
#include "common/watch.hpp"

NB_MODULE(_native, m) {
  m.doc() = "Native kernels of Monge.";
  monge::remember_main_thread();
  monge::bind_line_distance(m);
  monge::bind_circle_distance(m);
  monge::bind_simplex(m);
  monge::bind_sort(m);
  monge::bind_assignment(m);
  monge::bind_bijection(m);
  monge::bind_proof(m);
  monge::bind_monotone(m);
  monge::bind_partial1d(m);
  monge::bind_softmin(m);
  monge::bind_apply(m);
  monge::bind_sinkhorn(m);
  monge::bind_top_k(m);
  monge::bind_doubly_stochastic(m);
}
