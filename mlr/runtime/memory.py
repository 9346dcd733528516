"""How the C library manages this process's memory."""

import ctypes

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1  # of mallopt, as in glibc's malloc.h
FROM_THE_SYSTEM = 32 << 20  # bytes; the highest threshold that glibc takes
KEPT = 512 << 20


def keep_freed_memory() -> None:
    """Have malloc keep up to 512 MiB of freed memory for the next batches.

    Otherwise it gives the memory of each batch back to the system, which fills every page of the
    next one with zeros first. That takes a quarter of the time in which a batch is made. This has
    an effect with glibc only.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(MMAP_THRESHOLD, FROM_THE_SYSTEM)
        mallopt(TRIM_THRESHOLD, KEPT)
