"""The allocator of this process, tuned for training loops."""

from scenewise.kernels.native import library


def keep_large_blocks() -> bool:
    """Makes the process keep memory it frees, so that the next step need not ask the system for it again.

    Without it every large activation is a fresh mapping, whose pages the system zeroes one by one when first touched.  Call it
    once, before training.  Up to 1 GB stays with the process after use.

    Returns:
        Whether it had an effect: the compiled library is loaded and the allocator is glibc's.
    """
    lib = library.load()
    return lib is not None and hasattr(lib, "sw_keep_large_blocks") and bool(lib.sw_keep_large_blocks())
