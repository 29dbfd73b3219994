"""A report made again from its JSON: tables, pictures, older files, and what cannot be read."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace

import pytest
from rich.console import Console
from typer.testing import CliRunner

from autonla.planner.bench import Row, print_report, read, run_stability, run_suite, summarize, write
from autonla.planner.bench import report as bench_report
from autonla.planner.bench.measuring import Variant
from autonla.planner.bench.pictures import draw_all
from autonla.planner.bench.report import line, table, unstable
from autonla.planner.bench.selectors import contests
from autonla.planner.bench.stability import Stability
from autonla.planner.bench.variants import FULL, NAMES, ablations
from autonla.planner.cli import app
from autonla.profiles.errors import AutonlaError
from tests._support.bench_rows import row, tiny

PICTURES = ("regret.png", "forecast.png", "speedup.png", "selectors.png")
# what version 0 of the file held of a row, before features, limits, true errors and ablations
OLD = (
    "name", "family", "tags", "chosen", "status", "seconds", "default", "default_seconds", "stages", "forecast",
    "attempts", "bound", "target", "peak_bytes", "forecast_bytes", "candidates", "note",
)  # fmt: skip


def rows() -> list[Row]:
    """Of three families and a fourth; one harmed, one outside its band, one refused."""
    variants = {name: Variant("a[numpy float64]", "certified", 1.0 + 0.1 * i) for i, name in enumerate(NAMES)}
    found = []
    for i, family in enumerate(("least_squares", "linear_system", "low_rank", "eigenpairs")):
        shape = {"m": 2000, "n": 100 * (i + 1), "rank": 5}
        names = {"svd": 0.8, "lu": 1.5, "gram": None}
        one = row(1.0 + 0.2 * i, 2.0, family, name=f"{family} {i}", tags=shape, candidates=names, variants=variants)
        found += [one, replace(one, name=f"{family} again", seconds=1.1, forecast=(0.3, 0.2, 0.4), true_error=1e-10)]
    found[0] = replace(found[0], seconds=3.0)
    return [*found, row(status="refused", name="refused", candidates={}, stages={}, forecast=None)]


def console() -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    return Console(file=text, width=200), text


def run(*arguments: object):
    return CliRunner().invoke(app, ["bench", *map(str, arguments)])


def test_rows_survive_json_with_all_they_hold(tmp_path):
    made = [
        *rows(),
        row(
            latency=1.0, memory=2.0, energy=3.0, slowest=4.0, joules=5.0, likely_bytes=6.0, true_error=7e-9,
            features={"m": 3, "rank": None}, unraced={"c": 9.0}, forecast=None, bound=math.inf,
        ),
    ]  # fmt: skip
    write(tmp_path / "rows.json", made)
    assert read(tmp_path / "rows.json") == made
    assert [path.name for path in tmp_path.iterdir()] == ["rows.json"]  # nothing is left beside it


def test_a_file_that_is_written_again_is_whole_or_untouched(tmp_path):
    file = tmp_path / "rows.json"
    write(file, rows())
    before = file.read_bytes()
    with pytest.raises(TypeError, match="not JSON serializable"):
        write(file, [row(note=object())])  # type: ignore[arg-type]
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["rows.json"]


def test_older_files_can_be_read_and_reported(tmp_path):
    file = tmp_path / "old.json"
    old = [{key: value for key, value in r.to_dict().items() if key in OLD} for r in rows()]
    file.write_text(json.dumps({"summary": {}, "rows": old}))
    found = read(file)
    assert [r.name for r in found] == [r.name for r in rows()]
    assert {r.true_error for r in found} == {None}
    assert summarize(found).regret_mean == summarize(rows()).regret_mean
    out, text = console()
    print_report(out, found, pictures=tmp_path / "pictures")
    assert "scikit-learn" in text.getvalue()
    assert "With a part left out" not in text.getvalue()
    assert {path.name for path in (tmp_path / "pictures").iterdir()} == set(PICTURES)


def test_the_report_is_made_again_without_running_anything(tmp_path, monkeypatch):
    def never(*_: object, **__: object) -> None:
        raise AssertionError("something was run")

    monkeypatch.setattr("autonla.planner.bench.report.measure", never)
    monkeypatch.setattr("autonla.planner.bench.report.run_variants", never)
    source, again, folder = tmp_path / "rows.json", tmp_path / "again.json", tmp_path / "pictures"
    write(source, rows())
    result = run("--from", source, "--output", again, "--pictures", folder)
    assert result.exit_code == 0, result.output
    for expected in ("regret mean", "false accepts", "safe default", "no probes", "slower than today by 1.50"):
        assert expected in result.output
    document = json.loads(again.read_text())
    assert document["summary"] == summarize(rows()).to_dict()
    assert document["selectors"] == [c.to_dict() for c in contests(rows())]
    assert document["ablations"] == [a.to_dict() for a in ablations(rows())]
    assert {s["name"] for s in document["selectors"]} >= {"safe default", "single best", "scikit-learn", "CoLA"}
    assert read(again) == rows()
    for name in PICTURES:
        data = (folder / name).read_bytes()
        assert data.startswith(b"\x89PNG")
        assert len(data) > 10_000
        assert name in result.output.replace("\n", "")
    only = run("--from", source, "--only", "low_rank")
    assert "least squares" not in only.output


def test_pictures_of_what_the_rows_say_and_no_others(tmp_path):
    """Without a race there is no regret, on the fast path no forecast."""
    fast = [row(forecast=None, candidates={})]
    assert [p.name for p in draw_all(fast, [], [], tmp_path)] == ["speedup.png"]
    assert draw_all([row(status="refused", candidates={})], [], [], tmp_path / "none") == []
    own = [row(forecast=None)]
    drawn = draw_all(own, contests(own), [], tmp_path / "some")
    assert [p.name for p in drawn] == ["regret.png", "speedup.png", "selectors.png"]
    (tmp_path / "file").write_text("")
    with pytest.raises(AutonlaError, match="--pictures"):
        draw_all(fast, [], [], tmp_path / "file" / "folder")


def test_counts_of_what_no_row_could_show_are_not_called_good():
    def cell(of: list[Row], name: str) -> str:
        out, text = console()
        out.print(table(of))
        return next(line for line in text.getvalue().splitlines() if line.startswith(name)).split()[-3]

    assert cell([row()], "false accepts") == "-"
    assert cell([row(true_error=1e-12)], "false accepts") == "0"
    assert cell([row(true_error=1.0)], "false bounds") == "1"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("not JSON", "not the result of a benchmark"),
        ("[1, 2]", "not the result of a benchmark"),
        ('{"summary": {}}', "not the result of a benchmark"),
        ('{"rows": [{"name": "half a row"}]}', "not the result of a benchmark"),
        ('{"rows": [3]}', "not the result of a benchmark"),
        ('{"rows": []}', "holds no rows"),
    ],
)
def test_what_is_no_result_is_one_error(tmp_path, content, said):
    file = tmp_path / "bad.json"
    file.write_text(content)
    result = run("--from", file)
    assert result.exit_code == 2
    assert said in result.output.replace("\n", " ")
    assert "Traceback" not in result.output


def test_options_that_contradict_each_other_are_refused(tmp_path):
    write(tmp_path / "rows.json", rows())
    source = ("--from", tmp_path / "rows.json")
    for arguments, said in (
        ((*source, "--daily"), "measures nothing"),
        ((*source, "--ablations"), "measures nothing"),
        ((*source, "--stability", 2), "measures nothing"),
        ((*source, "--only", "no such thing"), "no instance"),
        (("--stability", 2, "--ablations"), "solves nothing"),
        (("--stability", 2, "--pictures", tmp_path), "solves nothing"),
        (("--stability", 0), "greater than or equal to 1"),
        (("--profile", tmp_path / "p.json"), "--stability"),
        (("--from", tmp_path / "missing.json"), "cannot be read"),
    ):
        result = run(*arguments)
        assert result.exit_code == 2, arguments
        assert said in " ".join(result.output.replace("│", " ").split())


def test_ablations_are_the_full_planners_row_first():
    assert [a.name for a in ablations(rows())] == list(NAMES)
    assert NAMES[0] == FULL


def test_an_instance_is_one_line():
    assert line(row(status="refused", note="too small")) == "made up: refused (too small)"
    assert line(row()) == "made up: a[numpy float64], 1 s, 2.00x today, regret 1.25, forecast off by 1.11"
    free = row(target=0.0, attempts=2, status="best_effort")
    assert line(free) == "made up: a[numpy float64], 1 s, 2.00x today, best_effort"


def test_what_is_left_out_is_said_and_parts_are_left_out_on_request(monkeypatch):
    """Nothing is run: what is measured is planted."""
    variants = rows()[0].variants
    monkeypatch.setattr(bench_report, "suite", lambda: [tiny()])
    monkeypatch.setattr(bench_report, "left_out", lambda: 3)
    monkeypatch.setattr(bench_report, "measure", lambda instance, rounds, *, race: row(name=instance.name))
    monkeypatch.setattr(bench_report, "run_variants", lambda instance: variants)
    out, text = console()
    (found,) = run_suite(out)
    assert dict(found.variants) == {}
    assert "3 instances of real matrices are left out" in text.getvalue()
    assert "With a part left out" not in text.getvalue()
    out, text = console()
    (found,) = run_suite(out, only="tiny", ablate=True)
    assert found.variants == variants
    assert "left out: AUTONLA_SHARED_DATA" not in text.getvalue(), "who names instances knows which"
    assert "With a part left out" in text.getvalue()


def test_ablations_of_what_was_not_raced_have_no_regret(tmp_path):
    unraced = [replace(rows()[0], candidates=())]
    parts = ablations(unraced)
    out, text = console()
    print_report(out, unraced, pictures=tmp_path)
    shown = next(line for line in text.getvalue().splitlines() if line.startswith("no probes"))
    assert shown.split()[2:4] == ["1", "-"]
    assert {path.name for path in tmp_path.iterdir()} == {"forecast.png", "speedup.png"}
    assert [path.name for path in draw_all(unraced, [], parts, tmp_path)] == ["forecast.png", "speedup.png"]


def test_ablations_alone_are_a_picture_too(tmp_path):
    raced = rows()[:1]
    names = [path.name for path in draw_all(raced, [], ablations(raced), tmp_path)]
    assert names == list(PICTURES)


def test_choices_that_change_are_named_the_dearest_first(monkeypatch):
    found = {
        "tiny 1x1 to 0.1": Stability("steady", "low_rank", {"a": 3}, {"a": 3}, 1.0),
        "tiny 2x2 to 0.1": Stability("close", "low_rank", {"b": 1, "a": 2}, {"a": 2, "b": 1}, 1.25),
        "tiny 3x3 to 0.1": Stability("apart", "low_rank", {"a": 1, "b": 1}, {"a": 1, "b": 1}, math.inf),
    }
    said = ["apart: a (1), b (1); one does not fit in the other's plan", "close: a (2), b (1); 1.25 apart"]
    assert unstable(list(found.values())) == said
    monkeypatch.setattr(bench_report, "machines_of", lambda profiles: [])
    monkeypatch.setattr(bench_report, "suite", lambda: [tiny(n, n, 0.1) for n in (1, 2, 3)])
    monkeypatch.setattr(bench_report, "stability", lambda instance, seeds, machines: found[instance.name])
    out, text = console()
    assert run_stability(out, 3) == list(found.values())
    assert text.getvalue().splitlines()[-2:] == said
