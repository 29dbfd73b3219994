"""Documents of plain data with something else at some place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any


def leaves(document: Any, members: int, path: tuple = ()) -> Iterator[tuple]:
    """Paths to everything in a document; of a list the first `members` stand for the others."""
    if path:
        yield path
    if isinstance(document, dict):
        for key, value in document.items():
            yield from leaves(value, members, (*path, key))
    elif isinstance(document, list):
        for i, value in enumerate(document[:members]):
            yield from leaves(value, members, (*path, i))


def tampered(document: dict, path: tuple, value: Any) -> dict:
    """A copy of the document with another value at a path."""
    document = json.loads(json.dumps(document))
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return document
