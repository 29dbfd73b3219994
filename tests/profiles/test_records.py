"""The record store: bounded, private, indifferent to damage, and never in the way."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from autonla import profiles
from autonla.profiles import HardwareProfile, Run, records


def run(n: int = 100, profile: str = "me", algorithm: str = "lu", **fields) -> Run:
    default = {
        "profile": profile, "kind": "linear_system", "algorithm": algorithm, "backend": "scipy", "dtype": "float64",
        "label": f"{algorithm}[scipy float64]", "m": n, "n": n, "nrhs": 1, "rank": None, "order": "C",
        "forecast_run": 0.01, "forecast_certify": 0.001, "run": 0.012, "certify": 0.0011,
        "forecast_bytes": 8.0 * n * n, "peak_bytes": None,
    }  # fmt: skip
    return Run.model_validate(default | fields)


@pytest.fixture
def mine(profile: HardwareProfile) -> str:
    return records.identity(profile)


def lines() -> list[bytes]:
    path = records.records_path()
    return path.read_bytes().splitlines() if path.exists() else []


def test_what_is_appended_is_read_back_in_order(profile, mine):
    runs = [run(n, mine) for n in range(1, 6)]
    for each in runs:
        records.append(each)
    records.append(run(99, "of another profile"))
    records.flush()
    assert records.runs_of(profile) == runs
    assert len(lines()) == 6


def test_the_file_stands_beside_the_profiles(home):
    records.append(run())
    records.flush()
    assert records.records_path().parent == home / "records"
    assert records.records_path().stem == profiles.profile_path().stem


def test_lines_wait_and_are_written_together():
    for n in range(1, records.EVERY):
        records.append(run(n))
    assert not records.records_path().exists()
    records.append(run())
    assert len(lines()) == records.EVERY


def test_what_waits_is_written_at_exit(home):
    code = "from autonla.profiles import records, Run; import sys; records.append(Run.model_validate_json(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, run(7).model_dump_json()], check=True, timeout=60)
    assert [json.loads(line)["n"] for line in lines()] == [7]


@pytest.mark.parametrize("value", ["0", "no", "off", "false"])
def test_switched_off(profile, mine, monkeypatch, value):
    records.append(run(1, mine))
    records.flush()
    monkeypatch.setenv("AUTONLA_RECORDS", value)
    records.append(run(2, mine))
    records.flush()
    assert len(lines()) == 1
    assert records.runs_of(profile) == []
    monkeypatch.setenv("AUTONLA_RECORDS", "1")
    assert len(records.runs_of(profile)) == 1


def test_bounded_and_the_newest_are_kept(profile, mine, monkeypatch):
    monkeypatch.setattr(records, "MAX_BYTES", 20_000)
    for n in range(1, 401):
        records.append(run(n, mine))
        records.flush()
        assert records.records_path().stat().st_size <= 20_000
    kept = [each.n for each in records.runs_of(profile)]
    assert kept == list(range(401 - len(kept), 401))
    assert len(kept) > 15
    assert sorted(p.name for p in records.records_path().parent.iterdir() if not p.name.endswith(".lock")) == [
        records.records_path().name
    ]


DAMAGE = {
    "not JSON": b"what is this",
    "empty": b"",
    "binary": bytes(range(256)).replace(b"\n", b""),
    "another version": run(5).model_dump_json().replace('"version":1', '"version":2').encode(),
    "a field more": json.dumps(json.loads(run(5).model_dump_json()) | {"password": "x"}).encode(),
    "a field less": json.dumps({k: v for k, v in json.loads(run(5).model_dump_json()).items() if k != "m"}).encode(),
    "negative time": run(5).model_dump_json().replace('"run":0.012', '"run":-1').encode(),
    "infinite time": run(5).model_dump_json().replace('"run":0.012', '"run":Infinity').encode(),
    "text for a number": run(5).model_dump_json().replace('"run":0.012', '"run":"0.012"').encode(),
    "torn": run(5).model_dump_json().encode()[:60],
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_what_is_no_record_is_skipped(profile, mine, damage):
    records.append(run(1, mine))
    records.flush()
    path, line = records.records_path(), damage.replace(b'"me"', f'"{mine}"'.encode())
    path.write_bytes(path.read_bytes() + line + b"\n" + records._sealed(line) + b"\n")
    records.append(run(2, mine))
    records.flush()
    assert [each.n for each in records.runs_of(profile)] == [1, 2]


def test_a_torn_last_line_costs_no_other(profile, mine):
    records.append(run(1, mine))
    records.flush()
    path = records.records_path()
    path.write_bytes(path.read_bytes() + records._sealed(run(2, mine).model_dump_json().encode())[:80])
    records.append(run(3, mine))
    records.flush()
    assert [each.n for each in records.runs_of(profile)] == [1, 3]


def test_a_locked_file_does_not_wait_and_loses_nothing(profile, mine):
    records.append(run(1, mine))
    records.flush()
    path = records.records_path()
    with FileLock(path.with_name(f".{path.name}.lock")):
        records.append(run(2, mine))
        records.flush()
        assert len(lines()) == 1
    records.flush()
    assert [each.n for each in records.runs_of(profile)] == [1, 2]


def test_what_waits_is_bounded_while_the_file_is_locked():
    path = records.records_path()
    path.parent.mkdir(parents=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        for n in range(1, 1001):
            records.append(run(n))
    records.flush()
    assert len(lines()) < 1000
    assert json.loads(lines()[-1])["n"] == 1000


def _write(home: str, first: int) -> None:
    os.environ["AUTONLA_HOME"] = home
    for n in range(first, first + 200):
        records.append(run(n))
        if n % 7 == 0:
            records.flush()
    while records._current()._waiting:  # pyright: ignore[reportOptionalMemberAccess]  the lock may be taken
        records.flush()


def test_two_writers(home):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write, args=(str(home), first)) for first in (1, 1001)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    found = [json.loads(line)["n"] for line in lines()]
    assert sorted(found) == [*range(1, 201), *range(1001, 1201)]
    for first in (1, 1001):
        own = [n for n in found if first <= n < first + 200]
        assert own == sorted(own)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # the child does next to nothing
def test_a_fork_does_not_write_what_its_parent_will():
    records.append(run(1))
    child = os.fork()
    if child == 0:
        records.flush()
        records.append(run(2))
        records.flush()
        os._exit(0)
    os.waitpid(child, 0)
    assert [json.loads(line)["n"] for line in lines()] == [2]
    records.flush()
    assert [json.loads(line)["n"] for line in lines()] == [2, 1]


@pytest.mark.parametrize("obstacle", ["home is a file", "records is a file", "the file is a folder"])
def test_where_nothing_can_be_written_recording_stops(home: Path, profile, obstacle):
    if obstacle == "home is a file":
        home.write_text("x")
    elif obstacle == "records is a file":
        home.mkdir()
        (home / "records").write_text("x")
    else:
        records.records_path().mkdir(parents=True)
    for _ in range(3 * records.EVERY):
        records.append(run())
    records.flush()
    assert records.runs_of(profile) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_does_not_block(profile):
    path = records.records_path()
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    records.append(run())
    records.flush()
    assert records.runs_of(profile) == []


def test_no_home_at_all(profile, monkeypatch):
    def homeless() -> Path:
        raise profiles.ProfileError("there is no home folder")

    monkeypatch.setattr(records, "records_path", homeless)
    monkeypatch.setenv("AUTONLA_HOME", "")
    records._records_in.cache_clear()
    records.append(run())
    records.flush()
    assert records.runs_of(profile) == []
    records._records_in.cache_clear()


def test_forget():
    records.append(run())
    records.flush()
    records.append(run())
    assert records.forget() == records.records_path()
    records.flush()
    assert lines() == []
    assert records.forget() is None


def test_the_first_run_of_an_algorithm_in_a_process():
    assert records.is_first("lu", "scipy")
    records.append(run(algorithm="lu"))
    assert not records.is_first("lu", "scipy")
    assert records.is_first("lu", "torch")
    assert records.is_first("qr", "scipy")


def test_identity_tells_profiles_apart_but_not_their_scales_and_corrections(make_profile):
    one = make_profile()
    same = one.model_copy(
        update={"scale": 2.0, "corrections": {"a": profiles.Correction(log_bias=0.1, log_sigma=0.1, count=3)}}
    )
    assert records.identity(one) == records.identity(same)
    assert records.identity(one) != records.identity(make_profile(created="2026-01-02T03:04:06Z"))
    assert records.identity(one) != records.identity(make_profile(name="other"))


def test_identity_tells_versions_apart(make_profile, monkeypatch):
    before = records.identity(make_profile())
    monkeypatch.setattr(records, "_version", lambda: "99.0")
    assert records.identity(make_profile()) != before


def test_records_are_forgotten_whether_or_not_they_are_kept(monkeypatch):
    for allowed in ("1", "0"):
        records.append(run())
        records.flush()
        monkeypatch.setenv("AUTONLA_RECORDS", allowed)
        path = records.records_path()
        assert path.exists()
        assert records.forget() == path
        assert not path.exists()
        monkeypatch.delenv("AUTONLA_RECORDS")
    assert records.forget() is None


def test_records_that_cannot_be_deleted_are_one_error():
    records.records_path().mkdir(parents=True)
    with pytest.raises(profiles.ProfileError, match="cannot be deleted"):
        records.forget()


def test_switching_off_is_undone(monkeypatch):
    for before in ("", "1", "0"):
        monkeypatch.setenv("AUTONLA_RECORDS", before)
        with records.switched_off():
            assert not records.recording()
        assert os.environ["AUTONLA_RECORDS"] == before
    monkeypatch.delenv("AUTONLA_RECORDS")
    with records.switched_off():
        assert not records.recording()
    assert "AUTONLA_RECORDS" not in os.environ


def test_a_run_that_only_mentions_a_profile_is_not_its_own(profile, mine):
    records.append(run(1, mine))
    records.append(run(2, "another", label=mine))
    records.flush()
    assert mine.encode() in lines()[1]
    assert [found.n for found in records.runs_of(profile)] == [1]
