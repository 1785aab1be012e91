#define MONGE_ISA baseline
#define MONGE_VECTOR_BYTES 16
#include "doubly_stochastic_kernels.hpp"
