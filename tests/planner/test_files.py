"""Reading and writing arrays: every format, and one line for everything that can be wrong with a file."""

from __future__ import annotations

import gzip
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from autonla.planner.files import SMALL_BYTES, check_output, densified, read_array, read_operands, write_value
from autonla.planner.solution import LowRankFactors
from autonla.profiles.errors import InvalidProblem

A = np.arange(12.0).reshape(4, 3) - 5.0
B = np.array([1.0, -2.0, 3.0, 0.5])


def save_safetensors(path: Path, arrays: dict[str, tuple[str, np.ndarray]]) -> Path:
    header: dict = {"__metadata__": {"made": "here"}}
    data = b""
    for name, (dtype, array) in arrays.items():
        raw = array.tobytes()
        header[name] = {"dtype": dtype, "shape": array.shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def saved(folder: Path, suffix: str) -> Path:
    path = folder / f"matrix{suffix}"
    if suffix == ".npy":
        np.save(path, A)
    elif suffix == ".npz":
        np.savez(path, A=A)
    elif suffix == ".safetensors":
        save_safetensors(path, {"A": ("F64", A)})
    else:
        plain = folder / "plain.mtx"
        scipy.io.mmwrite(plain, A)
        data = plain.read_bytes()
        path.write_bytes(gzip.compress(data) if suffix == ".mtx.gz" else data)
        if path != plain:
            plain.unlink()
    return path


@pytest.mark.parametrize("suffix", [".mtx", ".mtx.gz", ".npy", ".npz", ".safetensors"])
def test_every_format(tmp_path, suffix):
    operands = read_operands(saved(tmp_path, suffix))
    np.testing.assert_array_equal(operands.A, A)
    assert operands.b is None
    assert operands.notes == ()


@pytest.mark.parametrize("read", [read_array, lambda path: read_operands(path).A])
def test_what_is_sparse_stays_sparse(tmp_path, read):
    S = scipy.sparse.random_array((30, 20), density=0.1, rng=np.random.default_rng(1))
    scipy.io.mmwrite(tmp_path / "s.mtx", S)
    scipy.sparse.save_npz(tmp_path / "s.npz", S)
    for name in ("s.mtx", "s.npz"):
        found = read(tmp_path / name)
        assert found.nnz == S.nnz
        np.testing.assert_allclose(found.toarray(), S.toarray())
    assert read_operands(tmp_path / "s.mtx").notes == ()


def test_it_is_made_dense_with_a_word(tmp_path):
    S = scipy.sparse.random_array((30, 20), density=0.1, rng=np.random.default_rng(1))
    dense, note = densified(S, tmp_path / "s.mtx", False)
    np.testing.assert_array_equal(dense, S.toarray())
    assert note == "s.mtx is sparse, 30x20 with 60 nonzeros; made dense (0.1 MB)"


def test_symmetric_and_pattern_matrix_market(tmp_path):
    (tmp_path / "p.mtx").write_text("%%MatrixMarket matrix coordinate pattern symmetric\n3 3 3\n1 1\n2 1\n3 2\n")
    np.testing.assert_array_equal(read_operands(tmp_path / "p.mtx").A.toarray(), [[1, 1, 0], [1, 0, 1], [0, 1, 0]])


def test_large_sparse_needs_dense_and_memory(tmp_path):
    n = int((SMALL_BYTES / 8) ** 0.5) + 1000
    (tmp_path / "l.mtx").write_text(f"%%MatrixMarket matrix coordinate real general\n{n} {n} 1\n1 1 2.0\n")
    with pytest.raises(InvalidProblem, match=r"--dense"):
        densified(read_operands(tmp_path / "l.mtx").A, "l.mtx", False)
    huge = 10**7
    (tmp_path / "h.mtx").write_text(f"%%MatrixMarket matrix coordinate real general\n{huge} {huge} 1\n1 1 2.0\n")
    with pytest.raises(InvalidProblem, match="more than this machine's memory"):
        densified(read_operands(tmp_path / "h.mtx").A, "h.mtx", True)


@pytest.mark.parametrize(
    ("dtype", "stored", "expected"),
    [
        ("F32", A.astype("<f4"), A.astype(np.float32)),
        ("F16", A.astype("<f2"), A.astype(np.float16)),
        ("I64", A.astype("<i8"), A.astype(np.int64)),
        ("BF16", (A.astype("<f4").view("<u4") >> 16).astype("<u2"), A.astype(np.float32)),
    ],
)
def test_safetensors_dtypes(tmp_path, dtype, stored, expected):
    found = read_array(save_safetensors(tmp_path / "t.safetensors", {"w": (dtype, stored)}))
    np.testing.assert_array_equal(found, expected)  # the entries of A are exact in every one of them
    assert found.dtype == expected.dtype


def test_rhs_by_name_beside_by_option(tmp_path):
    np.savez(tmp_path / "both.npz", A=A, b=B)
    operands = read_operands(tmp_path / "both.npz")
    np.testing.assert_array_equal(operands.b, B)
    assert "b, in the same file" in operands.notes[0]

    np.savez(tmp_path / "named.npz", X=A, X_rhs1=B)
    np.testing.assert_array_equal(read_operands(f"{tmp_path}/named.npz:X").b, B)

    scipy.io.mmwrite(tmp_path / "m.mtx", A)
    scipy.io.mmwrite(tmp_path / "m_b.mtx", B[:, None])
    operands = read_operands(tmp_path / "m.mtx")
    np.testing.assert_array_equal(operands.b, B)  # a vector, although Matrix Market has columns only
    assert "m_b.mtx" in operands.notes[0]

    np.save(tmp_path / "other.npy", 2 * B)
    np.testing.assert_array_equal(read_operands(tmp_path / "m.mtx", tmp_path / "other.npy").b, 2 * B)


def test_a_named_file_wins_over_the_colon(tmp_path):
    path = tmp_path / "a.npz:b.npy"
    np.save(path, A)
    np.testing.assert_array_equal(read_array(path), A)


def broken(folder: Path, what: str) -> str:
    path = folder / what.replace(" ", "-")
    if what == "missing.npy":
        return str(path)
    if what == "folder.npy":
        path.mkdir()
    elif what == "type.csv":
        path.write_text("1,2")
    elif what == "objects.npy":
        np.save(path, np.array([[object(), 1]]), allow_pickle=True)
    elif what == "objects.npz":
        np.savez(path, A=np.array([[{}, 1]]))
    elif what == "text.npy":
        np.save(path, np.array([["a", "b"]]))
    elif what == "pickle.npy":
        path.write_bytes(pickle.dumps([1, 2]))
    elif what == "truncated.npy":
        np.save(path, A)
        path.write_bytes(path.read_bytes()[:-20])
    elif what == "empty.npy":
        path.write_bytes(b"")
    elif what == "vector.npy":
        np.save(path, B)
    elif what == "cube.npy":
        np.save(path, np.zeros((2, 2, 2)))
    elif what == "several.npz":
        np.savez(path, first=A, second=A)
    elif what == "nothing.npz":
        np.savez(path)
    elif what == "noname.npz":
        np.savez(path, A=A)
        return f"{path}:missing"
    elif what == "garbage.npz":
        path.write_bytes(b"not a zip file")
    elif what == "garbage.mtx":
        path.write_text("hello\n")
    elif what == "short.mtx":
        path.write_text("%%MatrixMarket matrix coordinate real general\n3 3 3\n1 1 2.0\n")
    elif what == "garbage.mtx.gz":
        path.write_bytes(b"not gzip")
    elif what == "header.safetensors":
        path.write_bytes((10**9).to_bytes(8, "little") + b"{}")
    elif what == "json.safetensors":
        path.write_bytes((4).to_bytes(8, "little") + b"nope")
    elif what == "offsets.safetensors":
        text = json.dumps({"A": {"dtype": "F64", "shape": [4, 3], "data_offsets": [0, 96]}}).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text)
    elif what == "shape.safetensors":
        save_safetensors(path, {"A": ("F32", A)})
    elif what == "dtype.safetensors":
        save_safetensors(path, {"A": ("F8_E4M3", A)})
    return str(path)


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("missing.npy", "no such file"),
        ("folder.npy", "not a regular file"),
        ("type.csv", r"must be one of \.mtx"),
        ("objects.npy", "Python objects"),
        ("objects.npz", "Python objects"),
        ("text.npy", "not numbers"),
        ("pickle.npy", "cannot be read"),
        ("truncated.npy", "cannot be read"),
        ("empty.npy", "cannot be read"),
        ("vector.npy", "must be a matrix, found shape 4"),
        ("cube.npy", "must be a matrix, found shape 2x2x2"),
        ("several.npz", r"several arrays \(first, second\); choose one: .*several.npz:first"),
        ("nothing.npz", "no array"),
        ("noname.npz", "no array 'missing'; it holds A"),
        ("garbage.npz", "cannot be read"),
        ("garbage.mtx", "cannot be read"),
        ("short.mtx", "cannot be read"),
        ("garbage.mtx.gz", "cannot be read"),
        ("header.safetensors", "longer than the file"),
        ("json.safetensors", "cannot be read"),
        ("offsets.safetensors", "outside the file"),
        ("shape.safetensors", "does not match its data"),
        ("dtype.safetensors", "dtype F8_E4M3"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line_that_names_it(tmp_path, what, says):
    file = broken(tmp_path, what)
    with pytest.raises(InvalidProblem, match=says) as caught:
        read_operands(file)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_rhs_of_wrong_dimension(tmp_path):
    np.save(tmp_path / "A.npy", A)
    np.save(tmp_path / "cube.npy", np.zeros((4, 1, 1)))
    with pytest.raises(InvalidProblem, match="vector or a matrix"):
        read_operands(tmp_path / "A.npy", tmp_path / "cube.npy")


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_a_solution_comes_back(tmp_path, suffix):
    path = check_output(tmp_path / f"x{suffix}", "least_squares")
    write_value(path, B)
    np.testing.assert_array_equal(read_array(path), B)


def test_factors_come_back_under_their_names(tmp_path):
    U, s, Vh = np.linalg.svd(A, full_matrices=False)
    path = check_output(tmp_path / "f.npz", "low_rank")
    write_value(path, LowRankFactors(U, s, Vh))
    with np.load(path) as back:
        np.testing.assert_array_equal(back["U"] * back["s"] @ back["Vh"], (U * s) @ Vh)


def test_output_is_refused_before_anything_is_computed(tmp_path):
    for file, kind, says in (
        ("f.npy", "low_rank", r"\.npz"),
        ("x.csv", "linear_system", r"\.npy or \.npz"),
        ("no/folder/x.npy", "linear_system", "no folder"),
    ):
        with pytest.raises(InvalidProblem, match=says):
            check_output(tmp_path / file, kind)


def test_unwritable_output_is_one_line(tmp_path):
    (tmp_path / "taken.npy").mkdir()
    with pytest.raises(InvalidProblem, match="cannot be written"):
        write_value(tmp_path / "taken.npy", B)


def test_an_output_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "x.npy"
    write_value(path, B)

    def full(file, array, **how):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(InvalidProblem, match="cannot be written"):
        write_value(path, 2.0 * B)
    np.testing.assert_array_equal(read_array(path), B)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("coordinate real general\n2 2 2\n1 1 1.0\0 5\n2 2 4\n", "NUL characters: not text"),
        ("coordinate real symmetric\n2 3 1\n2 1 1.0\n", "a symmetric matrix of 2x3"),
        ("coordinate real skew-symmetric\n3 2 1\n2 1 1.0\n", "a skew-symmetric matrix of 3x2"),
    ],
)
def test_matrix_market_files_that_its_reader_must_not_see(tmp_path, text, says):
    """It would read or write beyond the end of its arrays."""
    (tmp_path / "m.mtx").write_bytes(f"%%MatrixMarket matrix {text}".encode())
    with pytest.raises(InvalidProblem, match=f"m.mtx: cannot be read as .mtx .*{says}"):
        read_array(tmp_path / "m.mtx")


@pytest.mark.parametrize("form", ["array", "coordinate"])
@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0)])
def test_matrix_market_files_without_entries(tmp_path, form, shape):
    """The reader divides by the number of rows of an array."""
    size = f"{shape[0]} {shape[1]}" + (" 0" if form == "coordinate" else "")
    (tmp_path / "m.mtx").write_text(f"%%MatrixMarket matrix {form} real general\n{size}\n")
    assert read_array(tmp_path / "m.mtx").shape == shape


def test_a_header_that_is_no_mapping(tmp_path):
    (tmp_path / "list.safetensors").write_bytes((2).to_bytes(8, "little") + b"[]")
    with pytest.raises(InvalidProblem, match="the header is not a JSON object"):
        read_array(tmp_path / "list.safetensors")


def test_a_file_that_is_too_large_for_memory_is_one_line(tmp_path, monkeypatch):
    def full(*arguments, **how):
        raise MemoryError

    np.save(tmp_path / "A.npy", A)
    monkeypatch.setattr(np.lib.format, "read_array", full)
    with pytest.raises(InvalidProblem, match=r"A.npy: cannot be read \(not enough memory\)"):
        read_array(tmp_path / "A.npy")


def test_entries_of_a_matrix_without_rows_are_refused(tmp_path):
    head = "%%MatrixMarket matrix coordinate real general\n"
    (tmp_path / "some.mtx").write_text(f"{head}0 3 1\n1 1 2.0\n")
    with pytest.raises(InvalidProblem, match="1 entries of a matrix of 0x3"):
        read_array(tmp_path / "some.mtx")
    (tmp_path / "none.mtx").write_text(f"{head}0 3 0\n")
    assert read_array(tmp_path / "none.mtx").shape == (0, 3)
