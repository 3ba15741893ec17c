// What a .cu file needs in order to be read by the host's C++ compiler and run on the CPU: see host.py.
// What is missing here is not used by any kernel yet: add it when one is, with a test in test_emulator.py.
#pragma once

#include <type_traits>

#include "fibers.h"
#include "numbers.h"

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __CUDA_ARCH__ 900
#define __grid_constant__
#define __align__(n) __attribute__((aligned(n)))
#if defined(__ELF__)
#define __shared__ static __attribute__((section("cuda_shared")))
#else
#define __shared__ static
#endif

#define __syncthreads() cuda_on_cpu::barrier(__LINE__)
#define __syncthreads_or(own) cuda_on_cpu::vote(__LINE__, own).any
#define __syncthreads_and(own) cuda_on_cpu::vote(__LINE__, own).all
#define __syncthreads_count(own) cuda_on_cpu::vote(__LINE__, own).count
inline void __threadfence() {}
inline void __threadfence_block() {}

#include "warp.h"
