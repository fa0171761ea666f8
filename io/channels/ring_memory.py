"""The place of a receive ring in a process: addresses that are reserved for it, whether there is a ring or not.

Where there is none, pages of zeros stand in its place, which are frames that no kernel has filled. So a replica can
look there at any time. A ring that is put in place is seen by the processes that are forked from then on; those that
run go on with what they had.
"""

import ctypes
import mmap
import os

__all__ = ["RingMemory"]

_MAP_FIXED, _MAP_NORESERVE = 0x10, 0x4000  # linux/mman.h
_NOTHING = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


class RingMemory:
    """Room for a ring, with none in it.

    Parameters
    ----------
    size : int
        Bytes.

    Attributes
    ----------
    address : int
        The first byte.

    Raises
    ------
    OSError
        If there is no such room.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self.address = self._map(None, _NOTHING, -1)

    def put(self, descriptor: int) -> None:
        """Put the ring of a socket in place.

        Raises
        ------
        OSError
            If it cannot be mapped.
        """
        self._map(self.address, mmap.MAP_SHARED | _MAP_FIXED, descriptor)

    def take_out(self) -> None:
        """Put zeros in the place of the ring."""
        self._map(self.address, _NOTHING | _MAP_FIXED, -1)

    def close(self) -> None:
        """Give the addresses back."""
        if self.address:
            _libc.munmap(self.address, self._size)
            self.address = 0

    def _map(self, place: int | None, flags: int, descriptor: int) -> int:
        found = _libc.mmap(place, self._size, mmap.PROT_READ | mmap.PROT_WRITE, flags, descriptor, 0)
        if found in (None, ctypes.c_void_p(-1).value):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return int(found)
