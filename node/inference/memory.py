"""In the child: memory that is free again is kept for the next image, and not for volumes.

An image of 4096 x 3328 needs some hundred MB each time anew, and to have the system clear them
costs a good part of the work on it. Volumes need all that may be had.
"""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4
"""Of mallopt(3), of the GNU C library."""
_KEPT_BYTES = 1 << 28
_AS_IT_IS_AT_MOST, _BLOCKS_OF_THEIR_OWN = 1 << 25, 1 << 16
"""What the library itself comes to, and begins with."""


class FreeMemory:
    """What becomes of large blocks that are free again; where another C library is, nothing."""

    def __init__(self) -> None:
        library = ctypes.CDLL(None) if sys.platform == "linux" else None
        is_known = hasattr(library, "mallopt") and hasattr(library, "malloc_trim")
        self._library = library if is_known else None
        self._is_kept = False

    def keep(self) -> None:
        """Keep some of it from now on."""
        if self._library is not None and not self._is_kept:
            self._library.mallopt(_M_MMAP_MAX, 0)
            self._library.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
            self._is_kept = True

    def give_back(self) -> None:
        """Give it back, and all of what comes free."""
        if self._library is not None and self._is_kept:
            self._library.mallopt(_M_MMAP_MAX, _BLOCKS_OF_THEIR_OWN)
            self._library.mallopt(_M_MMAP_THRESHOLD, _AS_IT_IS_AT_MOST)
            self._library.mallopt(_M_TRIM_THRESHOLD, 2 * _AS_IT_IS_AT_MOST)
            self._library.malloc_trim(0)
            self._is_kept = False
