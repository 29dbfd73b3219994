"""Matrix files as disks and other programs leave them: arrays or one typed error, and never the end of the process.

Readers written in C run where this process does, so everything is read in a child: a crash is its return code.
"""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from autonla.planner.files import read_operands
from autonla.profiles.errors import InvalidProblem

A = np.round(np.random.default_rng(0).standard_normal((4, 3)), 3)
B = np.array([1.0, -2.0, 3.0, 0.5])
SYMMETRIC = "%%MatrixMarket matrix coordinate real symmetric\n3 3 4\n1 1 2\n2 1 1e3\n3 2 1\n3 3 -4\n"


def safetensors(header: Any, data: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def good_files(folder: Path) -> Iterator[Path]:
    """One file of every kind that is read."""
    np.save(folder / "C.npy", A)
    np.save(folder / "F.npy", np.asfortranarray(A.astype(np.float32)))
    np.savez(folder / "plain.npz", A=A, b=B)
    np.savez_compressed(folder / "compressed.npz", A=A, b=B)
    scipy.sparse.save_npz(folder / "csr.npz", scipy.sparse.csr_array(A))
    scipy.sparse.save_npz(folder / "coo.npz", scipy.sparse.coo_array(A))
    scipy.io.mmwrite(folder / "array.mtx", A)
    scipy.io.mmwrite(folder / "coordinate.mtx", scipy.sparse.coo_array(A))
    (folder / "symmetric.mtx").write_text(SYMMETRIC)
    (folder / "packed.mtx.gz").write_bytes(gzip.compress((folder / "coordinate.mtx").read_bytes()))
    entries = {"A": {"dtype": "F64", "shape": [4, 3], "data_offsets": [0, 96]}}
    (folder / "t.safetensors").write_bytes(safetensors(entries, A.tobytes()))
    return (path for path in sorted(folder.iterdir()))


NAMES = (
    "C.npy", "F.npy", "plain.npz", "compressed.npz", "csr.npz", "coo.npz", "array.mtx", "coordinate.mtx",
    "symmetric.mtx", "packed.mtx.gz", "t.safetensors",
)  # fmt: skip


def mutants(data: bytes, count: int) -> Iterator[bytes]:
    """Cuts, flipped bits, characters that mean something, and bytes lost and added."""
    rng = random.Random(5)
    yield from (data[:end] for end in range(0, len(data), max(1, len(data) // 100)))
    for _ in range(count):
        mutant = bytearray(data)
        for _ in range(rng.choice([1, 1, 1, 2, 8])):
            at, how = rng.randrange(len(mutant)), rng.random()
            if how < 0.6:
                mutant[at] ^= 1 << rng.randrange(8)
            elif how < 0.8:
                mutant[at] = rng.choice(b"0123456789-+.eE \n\x00\xff{}[]\"':,")
            elif how < 0.9:
                del mutant[at]
            else:
                mutant.insert(at, rng.choice(b"0123456789 \n,"))
        yield bytes(mutant)


def read_mutants(path: Path, count: int) -> dict[str, int]:
    """How often each outcome came: arrays, InvalidProblem, or the name of another error."""
    seen: Counter[str] = Counter()
    mutant = path.with_name("mutant" + "".join(path.suffixes))
    for data in mutants(path.read_bytes(), count):
        mutant.write_bytes(data)
        try:
            read_operands(mutant)
            seen["read"] += 1
        except InvalidProblem as error:
            seen["refused" if "\n" not in str(error) else "refused in several lines"] += 1
        except Exception as error:
            seen[f"{type(error).__name__}: {error}"[:200]] += 1
    return dict(seen)


def child(*arguments: str) -> Any:
    """What this file prints, run as a program."""
    found = subprocess.run(
        [sys.executable, "-X", "faulthandler", __file__, *arguments], capture_output=True, text=True, timeout=300
    )
    assert found.returncode == 0, f"{arguments} ended the process ({found.returncode}): {found.stderr[-2000:]}"
    return json.loads(found.stdout)


def check_mutants(tmp_path: Path, name: str, count: int) -> None:
    assert name in [path.name for path in good_files(tmp_path)]
    seen = child("mutants", str(tmp_path / name), str(count))
    assert set(seen) <= {"read", "refused"}, seen
    assert seen["refused"] > 0.3 * count
    assert seen["read"] > 0


@pytest.mark.parametrize("name", NAMES)
def test_damaged_files_are_read_or_refused_in_one_line(tmp_path, name):
    check_mutants(tmp_path, name, 250)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_many_more_of_them(tmp_path, name):
    check_mutants(tmp_path, name, 2000)


@pytest.mark.parametrize("name", NAMES)
def test_cut_or_empty(tmp_path, name):
    paths = {path.name: path for path in good_files(tmp_path)}
    data = paths[name].read_bytes()
    for end in (0, 1, len(data) // 2):
        paths[name].write_bytes(data[:end])
        with pytest.raises(InvalidProblem, match="cannot be read"):
            read_operands(paths[name])


# Files that another program may have meant so.

TEXT = "%%MatrixMarket matrix {} real {}\n{}"
MTX = {
    "a last line that ends in a space": ("array", "general", "2 2\n1\n2\n3\n4 "),
    "a last line that ends in a carriage return": ("coordinate", "general", "2 2 2\n1 1 1.0\n2 2 4\r"),
    "a last line with a word too many": ("array", "general", "2 2\n1\n2\n3\n4 x"),
    "a NUL in the last line": ("array", "general", "2 2\n1\n2\n3\n4\0\n"),
    "a NUL in a line": ("coordinate", "general", "2 2 2\n1 1 1.0\0 5\n2 2 4\n"),
    "no rows": ("array", "general", "0 3\n1\n2\n"),
    "no columns": ("array", "general", "3 0\n1\n2\n"),
    "nothing": ("coordinate", "general", "0 0 0\n"),
    "no rows of coordinates": ("coordinate", "general", "0 3 1\n1 1 2.0\n"),
    "symmetric and not square": ("array", "symmetric", "2 3\n1\n2\n3\n4\n5\n6\n"),
    "symmetric, not square and tall": ("array", "symmetric", "3 2\n1\n2\n3\n4\n5\n6\n"),
    "skew-symmetric and not square": ("coordinate", "skew-symmetric", "2 3 1\n2 3 1.0\n"),
    "more rows than memory": ("coordinate", "general", "1000000000000000 3 1\n1 1 2.0\n"),
    "more entries than memory": ("array", "general", "1000000000 1000000000\n1\n"),
    "entries beyond 64 bits": ("array", "general", "4294967296 4294967296\n1\n"),
    "rows beyond 64 bits": ("array", "general", "99999999999999999999999 1\n1\n"),
    "more coordinates than memory": ("coordinate", "general", "3 3 1000000000000000000\n1 1 2.0\n"),
    "an index too large": ("coordinate", "general", "3 3 1\n7 1 2.0\n"),
    "an index of zero": ("coordinate", "general", "3 3 1\n0 1 2.0\n"),
    "a negative index": ("coordinate", "general", "3 3 1\n-1 1 2.0\n"),
    "negative dimensions": ("coordinate", "general", "-3 3 1\n2 1 2.0\n"),
}


def csr_archive(path: Path, **fields: Any) -> Path:
    """What `scipy.sparse.save_npz` writes, with other fields."""
    good = {
        "format": np.array(b"csr"), "shape": np.array([3, 3]), "data": np.array([1.0, 2.0, 3.0]),
        "indices": np.array([0, 1, 2], np.int32), "indptr": np.array([0, 1, 2, 3], np.int32), "_is_array": True,
    }  # fmt: skip
    np.savez(path, **(good | fields))  # pyright: ignore[reportArgumentType]
    return path


NPZ: dict[str, dict[str, Any]] = {
    "an index too large": {"indices": np.array([0, 1, 10**8], np.int32)},
    "a negative index": {"indices": np.array([0, 1, -(10**8)], np.int32)},
    "a column too many": {"shape": np.array([3, 1])},
    "the same of columns": {"format": np.array(b"csc"), "indices": np.array([0, 1, 10**8], np.int32)},
    "pointers that fall": {"indptr": np.array([0, 2, 1, 3], np.int32)},
    "pointers beyond the entries": {"indptr": np.array([0, 1, 2, 10**8], np.int32)},
    "too few entries": {"data": np.array([1.0])},
    "negative dimensions": {"shape": np.array([-3, 3])},
    "dimensions beyond 64 bits": {"shape": np.array([2**62, 2**62])},
    "words for entries": {"data": np.array(["a", "b", "c"])},
    "objects for entries": {"data": np.array([{}, 1, 2], dtype=object)},
    "an unknown format": {"format": np.array(b"lil")},
    "a number for a format": {"format": np.array(3)},
}

HEADER = "{{'descr': {}, 'fortran_order': False, 'shape': {}, }}"
NPY = {
    "more entries than memory": ("<f8", "(1000000000000, 10)"),
    "negative dimensions": ("<f8", "(-2, -3)"),
    "objects": ("|O", "(2, 3)"),
    "words": ("<U3", "(2, 3)"),
    "a structure": ("[('a','<f8'),('b','<f8')]", "(2, 3)"),
    "a call in its header": ("__import__('os').system('true')", "(2, 3)"),
    "no bracket": ("<f8", "(2, 3"),
}

TENSORS: dict[str, Any] = {
    "brackets without end": b"[" * 200_000,
    "a list for an entry": {"A": [1, 2]},
    "words for offsets": {"A": {"dtype": "F64", "shape": [4, 3], "data_offsets": ["0", 96]}},
    "a list for a dtype": {"A": {"dtype": ["F64"], "shape": [4, 3], "data_offsets": [0, 96]}},
    "a shape beyond 64 bits": {"A": {"dtype": "F64", "shape": [2**70, 2**70], "data_offsets": [0, 96]}},
    "negative dimensions": {"A": {"dtype": "F64", "shape": [-4, -3], "data_offsets": [0, 96]}},
    "data that begin before the file": {"A": {"dtype": "F64", "shape": [4, 3], "data_offsets": [-96, 0]}},
}


def odd_files(folder: Path) -> Iterator[tuple[str, Path]]:
    for what, (layout, symmetry, body) in MTX.items():
        path = folder / f"mtx {what}.mtx"
        path.write_text(TEXT.format(layout, symmetry, body), newline="")
        yield what, path
    for what, fields in NPZ.items():
        yield what, csr_archive(folder / f"npz {what}.npz", **fields)
    named: dict[str, Any] = {"one\nname": A, "another\r\nname": A}
    np.savez(folder / f"{NAMED}.npz", **named)
    yield NAMED, folder / f"{NAMED}.npz"
    for what, (descr, shape) in NPY.items():
        quoted = descr if descr.startswith(("[", "__")) else repr(descr)
        header = HEADER.format(quoted, shape).ljust(117) + "\n"
        path = folder / f"npy {what}.npy"
        path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(48))
        yield what, path
    for what, entries in TENSORS.items():
        path = folder / f"tensors {what}.safetensors"
        path.write_bytes(safetensors(entries, bytes(96)))
        yield what, path


NAMED = "names of several lines"
READABLE = ("a last line that ends", "a last line with", "no rows", "no columns", "nothing")


def test_files_that_say_what_cannot_be(tmp_path):
    faults = {}
    paths = {str(path): what for what, path in odd_files(tmp_path)}
    outcomes = child("each", *paths)
    for path, what in paths.items():
        outcome = outcomes[path]
        allowed = ("read", "refused") if what.startswith(READABLE) else ("refused",)
        if outcome not in allowed:
            faults[Path(path).name] = outcome
    assert faults == {}
    assert len(paths) > 40


def test_a_huge_file_is_refused_before_it_is_read(tmp_path):
    """Sparse files of 64 GiB that are no arrays."""
    tracemalloc.start()
    try:
        for name in ("h.npy", "h.npz", "h.safetensors"):
            with (tmp_path / name).open("wb") as file:
                file.truncate(2**36)
            with pytest.raises(InvalidProblem):
                read_operands(tmp_path / name)
        assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    finally:
        tracemalloc.stop()


def test_links(tmp_path):
    np.save(tmp_path / "target.npy", A)
    (tmp_path / "good.npy").symlink_to("target.npy")
    np.testing.assert_array_equal(read_operands(tmp_path / "good.npy").A, A)
    for name, to in (("nothing.npy", "nowhere"), ("loop.npy", "loop.npy"), ("folder.npy", ".")):
        (tmp_path / name).symlink_to(to)
        with pytest.raises(InvalidProblem, match=r"no such file|not a regular file"):
            read_operands(tmp_path / name)


def outcome_of(path: str) -> str:
    try:
        read_operands(path)
    except InvalidProblem as error:
        return "refused" if "\n" not in str(error) else "refused in several lines"
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:200]
    return "read"


def main(what: str, *arguments: str) -> None:
    if what == "mutants":
        sys.stdout.write(json.dumps(read_mutants(Path(arguments[0]), int(arguments[1]))))
        return
    outcomes = {}
    for path in arguments:
        sys.stderr.write(f"reading {path}\n")  # the last of these is the one that a crash is due to
        sys.stderr.flush()
        outcomes[path] = outcome_of(path)
    sys.stdout.write(json.dumps(outcomes))


if __name__ == "__main__":
    main(*sys.argv[1:])
