"""Code that ran once, while a process started, and will not run again, goes back to the system.

Python loads OpenSSL with its event loop, whether anybody speaks TLS or not, and starting it up touches two megabytes
of its code. They are pages of a file that nobody wrote to: let go, one that is needed after all is read again.
"""

from __future__ import annotations

import ctypes
import re
import sys
from pathlib import Path

_DONT_NEED = 4  # MADV_DONTNEED, madvise(2)
_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) r-[x-]p [0-9a-f]+ \S+ [1-9]\d*\s+(/.*)")
_OPENSSL = re.compile(r"/(?:libcrypto|libssl)[^/]*\.so[^/]*$")
_OF_ITS_OWN = re.compile(r"(?:Anonymous|Private_Dirty|Swap):\s+[1-9]")


def let_go_of_openssl(smaps: Path = Path("/proc/self/smaps")) -> int:
    """Let go of OpenSSL's code, where it is a file's as it stands; the bytes of it.

    A page that is not the file's any more, such as one whose addresses were filled in when it was loaded, would be
    lost: what has any of these is left alone.
    """
    if sys.platform != "linux":
        return 0
    advise = ctypes.CDLL(None, use_errno=True).madvise
    advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    try:
        found = unwritten(smaps.read_text())
    except OSError:
        return 0
    return sum(size for start, size in found if advise(start, size, _DONT_NEED) == 0)


def unwritten(smaps: str) -> list[tuple[int, int]]:
    """Address and bytes of the mappings of OpenSSL that nobody wrote to, and nobody may."""
    found = []
    for part in re.split(r"\n(?=[0-9a-f]+-[0-9a-f]+ )", smaps):
        line, _, facts = part.partition("\n")
        match = _MAPPING.fullmatch(line)
        if match and _OPENSSL.search(match[3]) and "Anonymous:" in facts and not _OF_ITS_OWN.search(facts):
            start = int(match[1], 16)
            found.append((start, int(match[2], 16) - start))
    return found
