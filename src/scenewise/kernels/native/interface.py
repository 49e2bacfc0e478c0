"""What the compiled library and the Python that calls it must agree on, read from the C++ sources.

A library that was compiled from other sources takes other arguments: calling it would write over memory.  The build puts this
fingerprint into the library, and whoever loads it compares.  The build runs this file before the package can be imported.
"""

import hashlib
import re
from pathlib import Path

_COMMENTS = re.compile(r"//[^\n]*|/\*.*?\*/", re.S)
_ENTRIES = re.compile(r"SW_EXPORT\s+([^{;]*?\))\s*\{", re.S)
_STRUCTS = re.compile(r"\bstruct\s+(\w+)\s*\{(.*?)\n\};", re.S)


def interface_of(folder: Path) -> str | None:
    """Fingerprint of the entry points and of the records they take, or None where the sources are not there.

    What happens inside a function, comments and layout do not change it.

    Args:
        folder: with the C++ sources.
    """
    sources = sorted([*folder.glob("*.cpp"), *folder.glob("*.h")])
    code = "\n".join(_COMMENTS.sub("", source.read_text(encoding="utf-8")) for source in sources)
    entries = _ENTRIES.findall(code)
    if not entries:
        return None
    words = {word for entry in entries for word in re.findall(r"\w+", entry)}
    records = [f"{name}{{{body}}}" for name, body in _STRUCTS.findall(code) if name in words]
    plain = sorted(re.sub(r"\s+", "", said) for said in [*entries, *records])
    return hashlib.sha256("\n".join(plain).encode()).hexdigest()[:16]
