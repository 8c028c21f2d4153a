"""OpenSSL's code, which a worker without TLS ran once, is let go of; nothing is that could not be read again."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fairway.gateway.unused_text import unwritten

LINE = "7f00000{at}0000-7f00000{end}0000 {perms} 00000000 fe:00 1234                       {path}"
FACTS = "Size:  64 kB\nPrivate_Dirty:  {dirty} kB\nAnonymous:  {own} kB\nSwap:  {swap} kB\nVmFlags: rd ex mr mw me"


def mapping(perms: str = "r-xp", path: str = "/lib/libcrypto.so.3", dirty: int = 0, own: int = 0, swap: int = 0) -> str:
    return f"{LINE.format(at=1, end=3, perms=perms, path=path)}\n{FACTS.format(dirty=dirty, own=own, swap=swap)}"


def test_only_what_is_a_file_of_openssl_as_it_stands_is_let_go_of() -> None:
    assert unwritten(mapping()) == [(0x7F0000010000, 0x20000)]
    assert unwritten(mapping("r--p", "/usr/lib/libssl.so.1.1")) == [(0x7F0000010000, 0x20000)]
    kept = [
        mapping("rw-p"), mapping("rwxp"), mapping("r-xs"), mapping(dirty=4), mapping(own=4), mapping(swap=4),
        mapping(path="/lib/libpython3.11.so.1.0"), mapping(path="/libcrypto/other"), mapping(path=""),
        LINE.format(at=1, end=3, perms="r-xp", path="/lib/libcrypto.so.3"),
    ]  # fmt: skip
    assert unwritten("\n".join(kept)) == []
    assert len(unwritten("\n".join([*kept, mapping(), *kept, mapping()]))) == 2


SCRIPT = """
import re, ssl, hashlib
from pathlib import Path
from fairway.gateway.unused_text import let_go_of_openssl

def resident():
    parts = re.split(r"\\n(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text())
    return sum(int(re.search(r"Rss:\\s+(\\d+)", part)[1]) for part in parts if "libcrypto" in part)

def works():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    return hashlib.new("sha256", b"fairway").hexdigest()

before, said = resident(), works()
if not before:
    raise SystemExit(77)
gone = let_go_of_openssl()
print(before, resident(), gone, said == works())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what is mapped")
def test_openssl_goes_on_working_after_its_code_was_let_go_of() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False, timeout=60)
    if done.returncode == 77:
        pytest.skip("this Python has OpenSSL within itself")
    assert done.returncode == 0, done.stderr
    before, after, gone, works = done.stdout.split()
    assert int(gone) > 100_000
    assert int(after) < int(before) - 500
    assert works == "True"
