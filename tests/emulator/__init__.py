"""A GPU that is none: CuPy's interface over the memory of the CPU.

``module.build()`` makes a module that can stand in ``sys.modules`` under the name "cupy". It is there to say
no: what CuPy refuses it refuses too (a NumPy array beside one of the device, a silent copy to the host, an
argument that CuPy's functions do not have), so that what runs here has a fair chance on a GPU.
Where it cannot be as CuPy is, it is stricter.
"""
