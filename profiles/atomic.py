"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file beside `path` that takes its place when the block ends; after an error there, `path` is as it was.

    What stood there is replaced, be it a file, a link or a pipe: what a link points to is left alone. Raises OSError,
    and ValueError where `path` has no name.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # else a power cut can leave the new name on empty blocks
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
