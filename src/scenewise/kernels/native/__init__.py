"""The compiled kernels: C++ sources, the shared objects built from them, and their loader."""
