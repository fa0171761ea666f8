"""Memory for code that comes to processes that run: what one process loads, all of them can call.

A replica is forked, and then runs a compiled loop for ever; code that its parent compiles later is not in its memory.
So a region is mapped before the fork, at one address in all processes: they may execute it, and only the process that
loads code has a second mapping of it that can be written to. Code becomes visible in every process by one copy, at the
same address, and nothing has to be loaded in a replica.
"""

import mmap
import os
import platform

import llvmlite.binding as llvm
import numpy as np

from scout.ring.errors import ScoutError
from scout.ring.segment import LINE, address

__all__ = ["CodeMemory"]

_SIZE = 1 << 26  # bytes; pages without code cost nothing

_SECTION = np.dtype(
    [
        ("name", "u4"),
        ("type", "u4"),
        ("flags", "u8"),
        ("address", "u8"),
        ("offset", "u8"),
        ("size", "u8"),
        ("link", "u4"),
        ("info", "u4"),
        ("align", "u8"),
        ("entry_size", "u8"),
    ]
)
"""Elf64_Shdr (elf(5)), little-endian as the machine."""
_SYMBOL = np.dtype(
    [("name", "u4"), ("info", "u1"), ("other", "u1"), ("section", "u2"), ("value", "u8"), ("size", "u8")]
)
"""Elf64_Sym."""
_RELOCATION = np.dtype([("offset", "u8"), ("type", "u4"), ("symbol", "u4"), ("addend", "i8")])
"""Elf64_Rela, whose `r_info` has the type in its low half."""

_SYMTAB, _RELA, _NOBITS = 2, 4, 8  # types of sections
_ALLOC = 2  # flag of a section that is a part of the program
_UNDEFINED, _COMMON = 0, 0xFFF2  # in place of a symbol's section
_GLOBAL_FUNCTION = 1 << 4 | 2  # `info` of a symbol
_R_X86_64_64, _R_X86_64_PC64 = 1, 24  # relocations of the large code model: an address, and a distance (jump tables)


class CodeMemory:
    """A region of executable memory, shared with all processes that are forked from here on.

    Nothing that was loaded is taken out again: a process may still be running it.

    Raises
    ------
    ScoutError
        If this machine cannot have it.
    """

    def __init__(self) -> None:
        if platform.machine() != "x86_64":
            raise ScoutError(
                f"code can be added to a router that runs on x86_64 only, and this is {platform.machine()}"
            )
        descriptor = os.memfd_create("scout-code")
        try:
            os.ftruncate(descriptor, _SIZE)
            self._writable = mmap.mmap(descriptor, _SIZE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
            self._writable.madvise(mmap.MADV_DONTFORK)
            self._code = mmap.mmap(descriptor, _SIZE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_EXEC)
        except OSError as error:
            raise ScoutError(f"no executable memory that processes share: {error.strerror}") from error
        finally:
            os.close(descriptor)
        self._base = address(np.frombuffer(self._code, np.uint8))
        self._used = 0

    def load(self, code: bytes) -> int:
        """Load an object file (`scout.ring.object_code`); the address of its function, in all these processes.

        A process that is told the address by a store with release order, and loads it with acquire order, finds the
        code there.

        Raises
        ------
        ScoutError
            If there is no room, or the code refers to something that no process has.
        """
        file = np.frombuffer(code, np.uint8)
        offset, count = int(file[40:48].view("u8")[0]), int(file[60:62].view("u2")[0])  # e_shoff, e_shnum
        sections = file[offset:].view(np.uint8)[: count * _SECTION.itemsize].view(_SECTION)
        (table,) = (each for each in sections if each["type"] == _SYMTAB)
        symbols = _content(file, table).view(_SYMBOL)
        names = _content(file, sections[table["link"]]).tobytes()
        places = self._place(file, sections)
        addresses = [self._resolved(symbol, names, places) for symbol in symbols]
        for section in sections[sections["type"] == _RELA]:
            if int(section["info"]) not in places:
                continue  # of what describes the code to debuggers
            for relocation in _content(file, section).view(_RELOCATION):
                if relocation["type"] not in (_R_X86_64_64, _R_X86_64_PC64):
                    raise ScoutError(f"compiled code has a relocation of type {relocation['type']}; please report it")
                at = places[int(section["info"])] - self._base + int(relocation["offset"])
                value = addresses[relocation["symbol"]] + int(relocation["addend"])
                if relocation["type"] == _R_X86_64_PC64:
                    value -= self._base + at
                self._writable[at : at + 8] = value.to_bytes(8, "little", signed=value < 0)
        (entry,) = (at for at, symbol in zip(addresses, symbols, strict=True) if symbol["info"] == _GLOBAL_FUNCTION)
        return entry

    def _place(self, file: np.ndarray, sections: np.ndarray) -> dict[int, int]:
        """Copy the parts of the program; the address of each by the section's index."""
        places: dict[int, int] = {}
        for index, section in enumerate(sections):
            if section["flags"] & _ALLOC and section["size"]:
                places[index] = self._reserve(int(section["size"]), int(section["align"]))
                if section["type"] != _NOBITS:
                    at = places[index] - self._base
                    self._writable[at : at + int(section["size"])] = _content(file, section).tobytes()
        return places

    def _reserve(self, size: int, align: int = LINE) -> int:
        start = -(-self._used // max(align, LINE)) * max(align, LINE)
        if start + size > _SIZE:
            raise ScoutError("there is no room for more code in this run; start the router anew")
        self._used = start + size
        return self._base + start

    def _resolved(self, symbol: np.void, names: bytes, places: dict[int, int]) -> int:
        """The address of a symbol; 0 if nothing refers to it."""
        section = int(symbol["section"])
        if section == _COMMON:
            return self._reserve(int(symbol["size"]))
        if section != _UNDEFINED:
            return places.get(section, 0) + int(symbol["value"])
        start = int(symbol["name"])
        name = names[start : names.index(b"\0", start)].decode()
        found = llvm.address_of_symbol(name) if name else 0  # of a library that was loaded before the fork
        if found is None:
            raise ScoutError(f"compiled code calls {name}, which no library here has; please report it")
        return int(found)


def _content(file: np.ndarray, section: np.void) -> np.ndarray:
    return file[int(section["offset"]) : int(section["offset"]) + int(section["size"])]
