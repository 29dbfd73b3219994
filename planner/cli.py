"""The command line: parse, call, print. ``autonla --help`` lists the commands."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from ..profiles import records, save
from ..profiles.errors import AutonlaError, InvalidProblem
from .api import RIGORS
from .budget import Budget
from .candidates import show_bytes, show_seconds
from .files import SUFFIXES, check_output, densified, is_sparse, read_operands, write_value
from .plans import Candidate
from .problems import WHICH, Eigenpairs, LeastSquares, LinearSystem, LowRank, Problem
from .terminal import console, disabled, measure, profile_table, show_energy

KINDS = ("linear_system", "least_squares", "low_rank", "eigenpairs")
_TAKE_SPARSE = ("linear_system", "eigenpairs")
_NEAREST = 4  # points of the frontier that are shown where nothing fits

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Budget-aware numerical linear algebra: say how accurate, how fast and how big, not which algorithm.",
)


def main() -> None:
    """Entry point of the command ``autonla``."""
    app()


def _one_line_errors(command: Callable[..., None]) -> Callable[..., None]:
    """What the library raises on purpose becomes one red line and exit status 2."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except AutonlaError as error:
            message = " ".join(str(error).split())
            out = console(stderr=True)
            out.print(f"error: {message}", style="bold red", markup=False, soft_wrap=True)
            for candidate in getattr(error, "nearest", ())[:_NEAREST]:
                out.print(f"  nearest: {_point(candidate)}", style="dim", markup=False, soft_wrap=True)
            raise typer.Exit(2) from None
        except MemoryError:
            console(stderr=True).print("error: not enough memory; try a smaller --memory", style="bold red")
            raise typer.Exit(2) from None

    return wrapped


def _point(candidate: Candidate) -> str:
    forecast = candidate.forecast
    assert forecast is not None  # the frontier holds nothing else
    return (
        f"{candidate.label} takes about {show_seconds(forecast.seconds.median)} and"
        f" {show_bytes(forecast.bytes.median)}, error about {forecast.error.median:.1e}"
    )


def _version(asked: bool) -> None:
    if asked:
        import autonla

        typer.echo(f"autonla {autonla.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


# --- options that several commands share

_FILES = f"One of {', '.join(SUFFIXES)}; FILE.npz:NAME names one array of several."
File = Annotated[str, typer.Argument(metavar="FILE", help=f"The matrix A. {_FILES}")]
Rhs = Annotated[str | None, typer.Option(metavar="FILE", help="The right-hand side b.")]
Kind = Annotated[
    str | None, typer.Option(help=f"{' | '.join(KINDS)}; default: from the shape of A and the other options.")
]
Rank = Annotated[
    int | None,
    typer.Option(help="low_rank: number of singular triplets (default: as few as --accuracy needs)."),
]
Ridge = Annotated[float | None, typer.Option(help="least_squares: weight of the squared norm of x.")]
Center = Annotated[bool, typer.Option("--center", help="low_rank: subtract the column means (principal components).")]
Count = Annotated[int | None, typer.Option("--count", metavar="K", help="eigenpairs: how many of them.")]
Which = Annotated[
    str | None,
    typer.Option(
        help=f"eigenpairs: {' | '.join(WHICH)}, largest or smallest, algebraically or in magnitude; default LA."
    ),
]
Assume = Annotated[
    str | None,
    typer.Option(help="linear_system, eigenpairs: what you know of A: spd, symmetric, triangular, ..."),
]
Dense = Annotated[bool, typer.Option("--dense", help="Make a sparse A dense, however large.")]
Accuracy = Annotated[float | None, typer.Option(help="Relative error allowed, such as 1e-8.")]
Latency = Annotated[str | None, typer.Option(help='Time limit, such as "500 ms" or "2 s".')]
Memory = Annotated[str | None, typer.Option(help='Memory beyond the operands, such as "1 GiB".')]
Energy = Annotated[str | None, typer.Option(help='Energy, such as "50 J".')]
Seed = Annotated[int | None, typer.Option(help="Seed of everything random.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


def _problem(
    file: str, rhs: str | None, kind: str | None, rank: int | None, ridge: float | None, center: bool,
    count: int | None, which: str | None, assume: str | None, dense: bool, say: Callable[[str], None],
) -> Problem:  # fmt: skip
    """The problem that the options state; what had to be guessed is said."""
    if kind is not None and kind not in KINDS:
        raise InvalidProblem(f"--kind {kind}: not one of {', '.join(KINDS)}", argument="kind", found=kind)
    operands = read_operands(file, rhs)
    for note in operands.notes:
        say(note)
    A, b = operands.A, operands.b
    m, n = A.shape
    if kind is None:
        if count is not None or which is not None:
            kind = "eigenpairs"
        elif rank is not None or center or (b is None and ridge is None and assume is None):
            kind = "low_rank"
            if rank is None and not center:
                raise InvalidProblem(
                    f"{file}: a {m}x{n} matrix without a right-hand side; give one with --rhs FILE, or ask for a"
                    " low-rank approximation with --kind low_rank or --rank K, or for eigenpairs with --count K",
                    argument="--rhs",
                )
        else:
            kind = "linear_system" if m == n and not ridge else "least_squares"
        say(f"stated as {kind} ({m}x{n}); --kind says otherwise")
    for option, value, belongs in (
        ("--rank", rank, ("low_rank",)), ("--center", center or None, ("low_rank",)),
        ("--ridge", ridge, ("least_squares",)), ("--assume", assume, ("linear_system", "eigenpairs")),
        ("--count", count, ("eigenpairs",)), ("--which", which, ("eigenpairs",)),
        ("--rhs", rhs if kind == "eigenpairs" else None, ("linear_system", "least_squares")),
    ):  # fmt: skip
        if value is not None and kind not in belongs:
            raise InvalidProblem(
                f"{option} belongs to --kind {' or '.join(belongs)}, this is --kind {kind}", argument=option
            )
    if is_sparse(A) and (dense or kind not in _TAKE_SPARSE):
        A, note = densified(A, file, dense)
        say(note)
    if kind == "eigenpairs":
        if count is None:
            raise InvalidProblem(f"{file}: how many eigenpairs of the {m}x{n} matrix? --count K", argument="--count")
        return Eigenpairs(A, count, which=which or "LA", assume=assume)
    if kind == "low_rank":
        return LowRank(A, rank=rank, center=center)
    if b is None:
        raise InvalidProblem(
            f"{file}: a {kind} needs a right-hand side; give one with --rhs FILE (found by itself: arrays A and b"
            " in one .npz, or a file named STEM_b or STEM_rhs1 beside the matrix)",
            argument="--rhs",
        )
    if kind == "linear_system":
        return LinearSystem(A, b, assume=assume)
    return LeastSquares(A, b, ridge=ridge or 0.0)


def _notes(quiet: bool) -> Callable[[str], None]:
    out = console(stderr=True)
    return lambda text: None if quiet else out.print(text, style="dim", markup=False, soft_wrap=True)


@app.command("plan")
@_one_line_errors
def plan_command(
    file: File, rhs: Rhs = None, kind: Kind = None, rank: Rank = None, ridge: Ridge = None, center: Center = False,
    count: Count = None, which: Which = None, assume: Assume = None, dense: Dense = False,
    accuracy: Accuracy = None, latency: Latency = None, memory: Memory = None, energy: Energy = None,
    seed: Seed = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Say what would be run for a problem, and why; runs nothing but probes."""
    from . import plan

    budget = Budget(accuracy=accuracy, latency=latency, memory=memory, energy=energy)
    problem = _problem(file, rhs, kind, rank, ridge, center, count, which, assume, dense, _notes(as_json))
    found = plan(problem, budget, rng=seed)
    typer.echo(found.to_json() if as_json else found.explain())


@app.command("solve")
@_one_line_errors
def solve_command(
    file: File, rhs: Rhs = None, kind: Kind = None, rank: Rank = None, ridge: Ridge = None, center: Center = False,
    count: Count = None, which: Which = None, assume: Assume = None, dense: Dense = False,
    accuracy: Accuracy = None, latency: Latency = None, memory: Memory = None, energy: Energy = None,
    seed: Seed = None,
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the solution: .npy or .npz.")] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say what was found, chosen and rejected, and why.")
    ] = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Solve a problem within a budget and certify the answer."""
    from . import solve

    budget = Budget(accuracy=accuracy, latency=latency, memory=memory, energy=energy)
    problem = _problem(file, rhs, kind, rank, ridge, center, count, which, assume, dense, _notes(as_json))
    target = None if output is None else check_output(output, problem.kind)
    solution = solve(problem, budget, rng=seed)
    if target is not None:
        write_value(target, solution.value)
    if as_json:
        typer.echo(json.dumps(_summary(solution, target), indent=1, default=str))
        return
    typer.echo(solution.explain() if explain else _short(solution))
    if target is not None:
        typer.echo(f"written to {target}")


def _short(solution: Any) -> str:
    record, value = solution.record, solution.value
    fields = value._asdict() if hasattr(value, "_asdict") else {"x": value}
    shapes = ", ".join(f"{name} {'x'.join(map(str, a.shape))}" for name, a in fields.items())
    spent = [show_seconds(record.seconds["total"])]
    if record.peak_bytes is not None:
        spent.append(f"{show_bytes(record.peak_bytes)} of memory")
    spent.append(f"{show_energy(record.joules)} ({record.energy_source})")
    return "\n".join(
        (
            f"{solution.status}: {solution.certificate}",
            f"value:  {shapes}",
            f"by:     {solution.plan.chosen.label}",
            f"spent:  {', '.join(spent)}",
        )
    )


def _summary(solution: Any, output: Path | None) -> dict[str, Any]:
    return {
        "status": solution.status,
        "certificate": solution.certificate.to_dict(),
        "chosen": solution.plan.chosen.label,
        "record": asdict(solution.record),
        "output": None if output is None else str(output),
    }


@app.command("profile")
@_one_line_errors
def profile_command(
    rigor: Annotated[
        str,
        typer.Option(
            help="quick (a minute), standard (ten minutes) or thorough (an hour and more, and algorithms are tuned)."
        ),
    ] = "quick",
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where to save it (default: where autonla looks for it)."),
    ] = None,
    forget: Annotated[
        bool,
        typer.Option("--forget", help="Only delete the records of earlier runs (AUTONLA_RECORDS=0 keeps none)."),
    ] = False,
) -> None:
    """Measure this machine once, so that forecasts speak of it."""
    if forget:
        path = records.forget()
        typer.echo("there are no records" if path is None else f"deleted {path}")
        return
    if rigor not in RIGORS:
        raise typer.BadParameter(f"{rigor!r} is not one of {', '.join(RIGORS)}", param_hint="--rigor")
    out = console()
    profile = measure(out, rigor)
    path = save(profile, output)
    out.print(f"{profile.name}: the best rates that were measured", style="bold", markup=False)
    out.print(profile_table(profile))
    for line in disabled(profile):
        out.print(f"not used: {line}", style="dim", markup=False, soft_wrap=True)
    if not profile.complete:
        out.print("the time limit cut the measurement: some kernels are missing", style="yellow")
    if profile.corrections:
        out.print(
            f"{len(profile.calibration)} runs correct the forecasts of {len(profile.corrections)} algorithms, each in"
            " one library and dtype",
            soft_wrap=True,
        )
    for note in profile.notes:
        out.print(note, markup=False, soft_wrap=True)
    out.print(
        f"{len(profile.kernels)} kernels in {profile.seconds_spent:.0f} s; energy {profile.energy.source};"
        f" saved to {path}",
        markup=False, soft_wrap=True,
    )  # fmt: skip


@app.command("demo")
@_one_line_errors
def demo_command(
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the picture.")] = Path("autonla-demo"),
    quick: Annotated[bool, typer.Option("--quick", help="Small problems: seconds instead of minutes.")] = False,
    no_profile: Annotated[
        bool,
        typer.Option("--no-profile", help="Do not measure this machine first; use the profile there is."),
    ] = False,
) -> None:
    """Solve real problems under different budgets, beside the calls you would make today."""
    from .demo import run_demo

    run_demo(output, quick=quick, measure_profile=not no_profile)


@app.command("bench")
@_one_line_errors
def bench_command(
    daily: Annotated[bool, typer.Option("--daily", help="The subset that takes about five minutes.")] = False,
    only: Annotated[str, typer.Option(metavar="TEXT", help="Instances with this in their name.")] = "",
    kind: Annotated[
        str, typer.Option(help="Instances of this kind: linear_system, sparse_linear_system, eigenpairs, ...")
    ] = "",
    rounds: Annotated[int, typer.Option(min=1, help="How often everything is timed; medians are taken.")] = 3,
    race: Annotated[bool, typer.Option(help="Time every feasible candidate too, which regret needs.")] = True,
    ablate: Annotated[
        bool, typer.Option("--ablations", help="Also solve with each part of the planner left out.")
    ] = False,
    stability: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Solve nothing: plan with N seeds, and say how often the choice changes."
        ),
    ] = None,
    profiles: Annotated[
        list[Path] | None,
        typer.Option("--profile", metavar="FILE", help="With --stability: plan on this profile too (or a folder's)."),
    ] = None,
    small: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Instead: N random small problems, each answer held against the truth."),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE", help="Measure nothing: report on what --output wrote before."),
    ] = None,
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Write what was measured as JSON.")] = None,
    pictures: Annotated[Path | None, typer.Option(metavar="DIR", help="Draw the results into this folder.")] = None,
) -> None:
    """Judge the planner on a suite of problems: regret, harm, overhead, forecasts. Run `autonla profile` first."""
    from .bench import print_report, read, run_small, run_stability, run_suite

    out = console()
    if profiles and stability is None:
        raise typer.BadParameter("belongs to --stability N", param_hint="--profile")
    if small is not None:
        if daily or only or kind or ablate or stability is not None or source is not None or output or pictures:
            raise typer.BadParameter("stands alone: leave out the other options", param_hint="--small")
        with records.switched_off():
            report = run_small(out, small)
        if report.misses:
            raise typer.Exit(1)
        return
    if source is not None:
        if daily or ablate or stability is not None:
            raise typer.BadParameter(
                "measures nothing: leave out --daily, --ablations, --stability", param_hint="--from"
            )
        rows = [row for row in read(source) if only in row.name and kind in ("", row.family)]
        if not rows:
            which = f" of kind {kind}" if kind else ""
            raise typer.BadParameter(f"{source} has no instance{which} with {only!r} in its name", param_hint="--only")
        print_report(out, rows, output=output, pictures=pictures)
    elif stability is not None:
        if ablate or pictures is not None:
            raise typer.BadParameter("solves nothing: leave out --ablations, --pictures", param_hint="--stability")
        run_stability(out, stability, profiles or (), daily=daily, only=only, kind=kind, output=output)
    else:
        with records.switched_off():  # it neither learns from earlier runs nor teaches later ones
            run_suite(
                out, daily=daily, only=only, kind=kind, rounds=rounds, race=race, ablate=ablate, output=output,
                pictures=pictures,
            )  # fmt: skip
