#define MONGE_ISA avx2
#define MONGE_VECTOR_BYTES 32
#include "doubly_stochastic_kernels.hpp"
