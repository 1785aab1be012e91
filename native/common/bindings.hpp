// What each source file adds to the extension module.
#pragma once

#include <nanobind/nanobind.h>

namespace monge {

void bind_line_distance(nanobind::module_& m);
void bind_circle_distance(nanobind::module_& m);
void bind_simplex(nanobind::module_& m);
void bind_sort(nanobind::module_& m);
void bind_assignment(nanobind::module_& m);
void bind_bijection(nanobind::module_& m);
void bind_proof(nanobind::module_& m);
void bind_monotone(nanobind::module_& m);
void bind_partial1d(nanobind::module_& m);
void bind_softmin(nanobind::module_& m);
void bind_apply(nanobind::module_& m);
void bind_sinkhorn(nanobind::module_& m);
void bind_top_k(nanobind::module_& m);
void bind_doubly_stochastic(nanobind::module_& m);

}  // namespace monge
