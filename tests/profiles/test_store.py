from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import random
import stat

import filelock
import pytest

from autonla.profiles import Fingerprint, HardwareProfile, ProfileError, store


def sealed(payload: bytes) -> bytes:
    """A file whose checksum is right, whatever the payload."""
    return b'{"checksum":"%s","profile":%s}' % (hashlib.sha256(payload).hexdigest().encode(), payload)


def foreign(here) -> Fingerprint:
    return Fingerprint.model_validate(dict(here) | {"processor": "Abacus 9000", "usable_cores": 77})


def test_save_and_load(profile, home):
    path = store.save(profile)
    assert path == store.profile_path()
    assert home in path.parents
    assert store.load() == profile
    assert store.load(path) == profile
    left = {entry.name for entry in path.parent.iterdir()} - {path.name, f".{path.name}.lock"}
    assert not left, "no temporary file"
    document = json.loads(path.read_bytes())
    assert document.keys() == {"checksum", "profile"}


def test_save_to_a_named_file(profile, tmp_path, home):
    path = store.save(profile, tmp_path / "deep" / "er" / "profile.json")
    assert store.load(path) == profile
    assert not home.exists()


def test_the_layout_around_the_payload_is_free(profile):
    data = store.dumps(profile)
    assert store.loads(data.rstrip() + b"\r\n\r\n") == profile
    assert store.loads(data.replace(b'{"checksum":', b'{\n "checksum" : ', 1)) == profile


def test_hundreds_of_bit_flips_and_cuts(profile):
    data, rng = store.dumps(profile), random.Random(0)
    mutants = [data[:cut] for cut in rng.sample(range(len(data) - 2), 200)]
    for _ in range(600):
        mutant = bytearray(data)
        for _ in range(rng.choice([1, 1, 1, 2, 8])):
            mutant[rng.randrange(len(mutant))] ^= 1 << rng.randrange(8)
        mutants.append(bytes(mutant))
    # The frame around the payload is not under the checksum: every bit of it is tried.
    frame = [*range(data.index(b'{"schema_version"')), len(data) - 2, len(data) - 1]
    for position in frame:
        for bit in range(8):
            mutant = bytearray(data)
            mutant[position] ^= 1 << bit
            mutants.append(bytes(mutant))
    refusals = []
    for mutant in mutants:
        try:
            assert store.loads(mutant) == profile
        except ProfileError as error:
            refusals.append(str(error))
    assert len(refusals) > 0.98 * len(mutants), "only white space in the frame may change unnoticed"
    assert not any("\n" in refusal for refusal in refusals)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: b"", "empty"),
        (lambda data: b"\x00\xff\xfe", "not JSON"),
        (lambda data: b"[1, 2]", "not a profile file"),
        (lambda data: b"[" * 100_000, "not JSON"),
        (lambda data: data[:-40], "truncated or damaged"),
        (lambda data: data.replace(b"synthetic", b"synthetjc"), "changed after it was written"),
        (lambda data: data + b" " * store.MAX_BYTES, "larger than 4 MiB"),
        (lambda data: sealed(b"[]"), "not a valid profile"),
        (lambda data: sealed(b"{}"), "not a valid profile"),
        (lambda data: sealed(b"nonsense"), "not a valid profile"),
        (lambda data: sealed(b"[" * 100_000), "not a valid profile"),
        (lambda data: sealed(b'{"schema_version":2,"shiny":true}'), "newer autonla .schema 2"),
        (lambda data: sealed(b'{"a\\nb":1}'), "not a valid profile"),
    ],
)
def test_each_damage_has_its_reason(profile, tmp_path, damage, reason):
    path = tmp_path / "profile.json"
    path.write_bytes(damage(store.dumps(profile)))
    with pytest.raises(ProfileError, match=reason) as caught:
        store.load(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert "autonla profile" in message, "says what to do"
    assert len(message) < 700


def test_a_checksummed_profile_is_still_validated(profile):
    payload = profile.model_dump_json().encode().replace(b'"spread":0.1', b'"spread":-1', 1)
    with pytest.raises(ProfileError, match=r"kernels.0.points.0.spread"):
        store.loads(sealed(payload))


def test_paths_that_are_no_files(tmp_path):
    with pytest.raises(ProfileError, match="no such file"):
        store.load(tmp_path / "nothing.json")
    with pytest.raises(ProfileError, match="not a regular file"):
        store.load(tmp_path)
    with pytest.raises(ProfileError, match="no such file"):
        store.load()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ProfileError, match="not a regular file"):
        store.load(tmp_path / "pipe")


def test_a_profile_of_another_machine_is_refused_with_the_reason(make_profile, here):
    path = store.save(make_profile(fingerprint=foreign(here)))
    with pytest.raises(ProfileError, match=r"does not fit this machine: processor: .*Abacus 9000.* \(and 1 more\)"):
        store.load()
    assert store.load(path, any_machine=True).fingerprint.processor == "Abacus 9000"


def test_a_generic_profile_fits_every_machine(make_profile, here):
    store.save(make_profile(fingerprint=foreign(here), rigor="generic"))
    assert store.load().rigor == "generic"


def test_too_large_a_profile_is_not_written(make_profile, tmp_path):
    with pytest.raises(ProfileError, match="the limit is"):
        store.save(make_profile(notes=["x" * store.MAX_BYTES]), tmp_path / "p.json")
    assert list(tmp_path.iterdir()) == []


def test_find_prefers_the_user_and_says_nothing(profile, shipped):
    store.save(profile)
    assert store.find() == (profile, "user", ())


def test_find_without_a_user_profile(shipped):
    found = store.find()
    assert found.profile is shipped
    assert found.source == "shipped"
    assert "has not been profiled" in found.reasons[0]


@pytest.mark.parametrize("content", [b"", b"{}", b"\x80" * 100])
def test_find_never_raises_for_a_broken_user_file(shipped, content):
    path = store.profile_path()
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    found = store.find()
    assert (found.profile, found.source) == (shipped, "shipped")
    assert str(path) in found.reasons[0]


def test_find_falls_back_from_a_foreign_user_profile(make_profile, here, shipped):
    store.save(make_profile(fingerprint=foreign(here)))
    found = store.find()
    assert found.source == "shipped"
    assert "Abacus 9000" in found.reasons[0]


def test_find_tells_what_is_slightly_off(make_profile, here, shipped):
    older = Fingerprint.model_validate(dict(here) | {"python": "3.0.0"})
    store.save(make_profile(fingerprint=older, complete=False))
    found = store.find()
    assert found.source == "user"
    assert any("Python" in reason for reason in found.reasons)
    assert any("time limit" in reason for reason in found.reasons)


def test_find_notices_a_new_profile(profile, make_profile, shipped):
    assert store.find().source == "shipped"
    store.save(profile)
    assert store.find().profile == profile
    newer = make_profile(name="newer")
    store.save(newer)
    assert store.find().profile == newer
    store.profile_path().unlink()
    assert store.find().source == "shipped"


def test_find_reads_a_file_once(profile, shipped, monkeypatch):
    store.save(profile)
    first = store.find()
    monkeypatch.setattr(store, "_read", lambda path: pytest.fail("read again"))
    assert store.find() is first


def test_a_named_profile_wins(profile, make_profile, shipped, tmp_path, monkeypatch):
    store.save(profile)
    named = make_profile(name="named")
    monkeypatch.setenv("AUTONLA_PROFILE", str(store.save(named, tmp_path / "named.json")))
    assert store.find() == (named, "environment", ())
    assert store.load() == named
    assert store.save(profile) == store.profile_path(), "writing goes to the user's file"


@pytest.mark.parametrize("content", [None, b"", b"{}", b"nonsense"])
def test_a_broken_named_profile_is_an_error(profile, shipped, tmp_path, monkeypatch, content):
    store.save(profile)
    path = tmp_path / "named.json"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv("AUTONLA_PROFILE", str(path))
    for read in (store.find, store.load):
        with pytest.raises(ProfileError, match=r"named\.json"):
            read()


def test_a_foreign_named_profile_is_an_error(make_profile, here, shipped, tmp_path, monkeypatch):
    path = store.save(make_profile(fingerprint=foreign(here)), tmp_path / "named.json")
    monkeypatch.setenv("AUTONLA_PROFILE", str(path))
    with pytest.raises(ProfileError, match="does not fit this machine"):
        store.find()


def test_a_home_that_cannot_be_written(profile, shipped, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("AUTONLA_HOME", str(tmp_path / "file"))
    with pytest.raises(ProfileError, match="cannot be written"):
        store.save(profile)
    assert store.find().source == "shipped"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_home(profile, shipped, home):
    home.mkdir()
    home.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(ProfileError, match="cannot be written"):
        store.save(profile)
    assert store.find().source == "shipped"
    home.chmod(stat.S_IRWXU)


def test_a_disk_that_fails_leaves_the_old_file(profile, make_profile, monkeypatch):
    path = store.save(profile)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.os, "fsync", full)
    with pytest.raises(ProfileError, match="No space left"):
        store.save(make_profile(name="newer"))
    monkeypatch.undo()
    assert store.load(path) == profile
    assert {entry.name for entry in path.parent.iterdir()} <= {path.name, f".{path.name}.lock"}


def test_no_home_at_all(profile, shipped, monkeypatch):
    monkeypatch.delenv("AUTONLA_HOME")
    monkeypatch.setattr("platformdirs.user_data_path", lambda *args, **kwargs: store.Path("~/.local/share"))
    with pytest.raises(ProfileError, match="set AUTONLA_HOME"):
        store.save(profile)
    found = store.find()
    assert found.source == "shipped"
    assert "AUTONLA_HOME" in found.reasons[0]


@pytest.mark.skipif(os.name == "nt", reason="Windows expands ~name by convention")
def test_a_home_that_cannot_be_expanded(profile, shipped, monkeypatch):
    monkeypatch.setenv("AUTONLA_HOME", "~no-such-user-of-this-machine/x")
    with pytest.raises(ProfileError, match="write the whole path"):
        store.save(profile)
    assert store.find().source == "shipped"


def test_the_default_home_is_the_users_data_folder(monkeypatch):
    monkeypatch.delenv("AUTONLA_HOME")
    assert store.home().is_absolute()
    assert "autonla" in str(store.home())


def test_a_lock_that_is_never_released(profile, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "LOCK_SECONDS", 0.01)
    with filelock.FileLock(tmp_path / ".p.json.lock"), pytest.raises(ProfileError, match="locked"):
        store.save(profile, tmp_path / "p.json")
    assert store.save(profile, tmp_path / "p.json").exists()


def test_a_missing_shipped_profile_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(store.resources, "files", lambda package: tmp_path)
    store._generic.cache_clear()
    with pytest.raises(ProfileError, match="ships no generic profile"):
        store.generic()
    store._generic.cache_clear()


def _write_many(path: str, document: str, times: int) -> None:
    profile = HardwareProfile.model_validate_json(document)
    for _ in range(times):
        store.save(profile, path)


def test_two_writers_and_a_reader(make_profile, tmp_path):
    path = tmp_path / "profile.json"
    small, large = make_profile(name="small"), make_profile(name="large", notes=["x" * 50_000])
    store.save(small, path)
    spawn = multiprocessing.get_context("spawn")
    writers = [
        spawn.Process(target=_write_many, args=(str(path), profile.model_dump_json(), 25)) for profile in (small, large)
    ]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        seen.add(store.load(path).name)
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert seen <= {"small", "large"}
    assert store.load(path) in (small, large)
    assert {entry.name for entry in tmp_path.iterdir()} <= {path.name, f".{path.name}.lock"}


def test_a_home_that_is_relative_to_a_folder_that_is_gone(monkeypatch):
    def gone():
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setenv("AUTONLA_HOME", "here")
    monkeypatch.setattr(store.os, "getcwd", gone)
    with pytest.raises(ProfileError, match=r"AUTONLA_HOME=here: .* is gone: write the whole path"):
        store.home()
