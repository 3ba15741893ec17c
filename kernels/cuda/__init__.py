"""The kernels of NVIDIA GPUs. Importing them needs neither CuPy nor a GPU, but running them does."""
