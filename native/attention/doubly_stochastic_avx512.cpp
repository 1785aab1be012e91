#define MONGE_ISA avx512
#define MONGE_VECTOR_BYTES 64
#include "doubly_stochastic_kernels.hpp"
