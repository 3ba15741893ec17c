// The sum of parts that blocks computed on their own, always from the first to the last: so that the result
// is the same in each run, as it would not be if blocks added to one place whenever they are done. What each
// of `columns` neighbours begins with may be given as a bias.
extern "C" __global__ void add_parts(const real *__restrict__ parts, const real *__restrict__ bias,
                                     real *__restrict__ result, int count, int size, int columns) {
    int index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= size)
        return;
    real sum = bias ? bias[index % columns] : real(0);
    for (int part = 0; part < count; ++part)
        sum += parts[(long long)part * size + index];
    result[index] = sum;
}
