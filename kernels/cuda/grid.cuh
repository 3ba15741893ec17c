// Which numbers are this thread's, of `count`? One in each step of the whole grid: neighbouring threads take
// neighbouring numbers, so that a warp's loads and stores are few transactions, and a grid of any size does.
#pragma once

#define EACH(index, count)                                                                                   \
    for (unsigned index = blockIdx.x * blockDim.x + threadIdx.x; index < unsigned(count);                    \
         index += gridDim.x * blockDim.x)
