"""Training of small networks: batches, a learning rate that rises and falls, checkpoints, curves, a file of weights."""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ...primitives.autospec.network import Perceptron, perceptron

T = TypeVar("T")


@dataclass(frozen=True)
class Settings:
    """What Optuna chooses, and how long.

    Attributes
    ----------
    rate : float
        Largest learning rate of AdamW; a tenth of all steps it rises, then it falls like a cosine.
    width, layers : int
        Of the hidden layers.
    penalty : float
        Weight of what must not be in the loss.
    decay : float
        Weight decay.
    epochs, batch : int
    """

    rate: float = 5e-4
    width: int = 256
    layers: int = 3
    penalty: float = 10.0
    decay: float = 1e-3
    epochs: int = 32
    batch: int = 64


def network(features: Any, outputs: int, settings: Settings, seed: int) -> Any:
    """A torch module with `mean` and `scale` of the features (s, inputs); its last layer starts near zero."""
    import torch

    torch.manual_seed(seed)
    sizes = [features.shape[1], *[settings.width] * settings.layers, outputs]
    modules: list[Any] = []
    for i, (a, b) in enumerate(itertools.pairwise(sizes)):
        modules.append(torch.nn.Linear(a, b, dtype=torch.float64))
        if i < len(sizes) - 2:
            modules.append(torch.nn.GELU())
    with torch.no_grad():
        modules[-1].weight.mul_(0.05)
        modules[-1].bias.zero_()
    made = torch.nn.Sequential(*modules)
    made.register_buffer("mean", features.mean(0))
    made.register_buffer("scale", features.std(0) + 1e-3)
    return made


def run(net: Any, features: Any) -> Any:
    """Of features as they are."""
    return net((features - net.mean) / net.scale)


def fit(
    net: Any,
    batches: Callable[[np.random.Generator], Iterable[Any]],
    loss: Callable[[Any], Any],
    held_out: Callable[[], float],
    settings: Settings,
    seed: int,
    *,
    checkpoint: Path | None = None,
    progress: Callable[[int, float, float, float], None] | None = None,
) -> list[dict[str, float]]:
    """Minimize `loss` of batches; the curve, one entry per epoch, and the network with the least held-out loss.

    Parameters
    ----------
    batches : callable
        Random generator to the index batches of one epoch.
    loss : callable
        Index batch to a scalar tensor.
    held_out : callable
        The loss of the network on data that it is not trained on.
    checkpoint : Path, optional
        Written after each epoch; where it exists training goes on from there, to the same bits.
    progress : callable, optional
        Told (epoch, seconds, loss, held-out loss).
    """
    import torch

    optimizer = torch.optim.AdamW(net.parameters(), lr=settings.rate, weight_decay=settings.decay)
    curve: list[dict[str, float]] = []
    best: dict[str, Any] = {}
    per_epoch = len(list(batches(np.random.default_rng(seed))))
    total = settings.epochs * per_epoch
    warm = max(1, total // 10)
    first = 0
    if checkpoint is not None and checkpoint.exists():
        kept = torch.load(checkpoint, weights_only=True)
        net.load_state_dict(kept["network"])
        optimizer.load_state_dict(kept["optimizer"])
        curve, best, first = kept["curve"], kept["best"], len(kept["curve"])
    started = time.perf_counter()
    for epoch in range(first, settings.epochs):
        sums = 0.0
        for i, part in enumerate(batches(np.random.default_rng([seed, epoch]))):
            step = epoch * per_epoch + i
            share = (step + 1) / warm if step < warm else 0.5 * (
                1.0 + math.cos(math.pi * (step - warm) / max(1, total - warm))
            )  # fmt: skip
            for group in optimizer.param_groups:
                group["lr"] = settings.rate * share
            value = loss(part)
            optimizer.zero_grad()
            value.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            sums += float(value.detach())
        with torch.no_grad():
            outside = held_out()
        curve.append({"epoch": epoch, "loss": sums / per_epoch, "held_out": outside})
        if outside <= min(point["held_out"] for point in curve):
            best = {key: value.clone() for key, value in net.state_dict().items()}
        if progress is not None:
            progress(epoch, time.perf_counter() - started, sums / per_epoch, outside)
        if checkpoint is not None:
            state = {"network": net.state_dict(), "optimizer": optimizer.state_dict(), "curve": curve, "best": best}
            torch.save(state, checkpoint.with_suffix(".part"))
            checkpoint.with_suffix(".part").replace(checkpoint)
    if best:
        net.load_state_dict(best)
    return curve


def collected(
    sample: Callable[[np.random.Generator], T | None],
    seed: int,
    count: int,
    tries: int,
    progress: Callable[[int], None] | None = None,
) -> list[T]:
    """So many samples, the same for the same seed, of `tries` times as many attempts at most; some come to nothing."""
    found: list[T] = []
    for child in np.random.default_rng(seed).spawn(tries * count):
        one = sample(child)
        if one is not None:
            found.append(one)
            if progress is not None:
                progress(len(found))
        if len(found) == count:
            break
    return found


def teller(name: str | None, say: Callable[[str], None]) -> Callable[[int, float, float, float], None] | None:
    """The `progress` of a network with this name; none of one without."""
    if name is None:
        return None
    return lambda e, s, a, b: say(f"  {name}: epoch {e}, {s:.0f} s, loss {a:.4f}, held out {b:.4f}")


def as_shipped(net: Any, prefix: str) -> Perceptron:
    """What will be read from the file of its weights."""
    return perceptron({key: value.astype(np.float64) for key, value in weights(net, prefix).items()}, prefix)


def weights(net: Any, prefix: str) -> dict[str, np.ndarray]:
    """As `primitives.autospec.network.perceptron` reads them, rounded to float32: errors of 1e-7 do not matter."""
    found = {f"{prefix}.mean": net.mean.numpy(), f"{prefix}.scale": net.scale.numpy()}
    linear = [module for module in net if hasattr(module, "weight")]
    for i, module in enumerate(linear):
        found[f"{prefix}.W{i}"] = module.weight.detach().numpy().T
        found[f"{prefix}.b{i}"] = module.bias.detach().numpy()
    return {key: value.astype(np.float32) for key, value in found.items()}


def search(objective: Callable[[Settings], float], trials: int, seed: int, settings: Settings) -> Settings:
    """The settings with the least objective, by Optuna's TPE; `objective` trains briefly."""
    from dataclasses import replace

    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def proposed(trial: Any) -> Settings:
        return replace(
            settings,
            rate=trial.suggest_float("rate", 2e-4, 5e-3, log=True),
            width=trial.suggest_categorical("width", [64, 128, 192, 256]),
            layers=trial.suggest_int("layers", 1, 3),
            penalty=trial.suggest_float("penalty", 1.0, 100.0, log=True),
        )

    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    study.enqueue_trial({name: getattr(settings, name) for name in ("rate", "width", "layers", "penalty")})
    study.optimize(lambda trial: objective(proposed(trial)), n_trials=trials)
    return proposed(study.best_trial)


def write(
    folder: Path, name: str, arrays: dict[str, np.ndarray], record: dict[str, Any], curves: dict[str, Any]
) -> None:
    """NAME.npz, NAME.json (settings and figures), NAME.csv and NAME.png (curves) in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / f"{name}.npz", **arrays)  # type: ignore[arg-type]
    (folder / f"{name}.json").write_text(json.dumps(record, indent=2, default=_plain) + "\n")
    lines = ["network,epoch,loss,held_out"]
    lines += [f"{key},{p['epoch']},{p['loss']:.6g},{p['held_out']:.6g}" for key, curve in curves.items() for p in curve]
    (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.0 * len(curves), 3.5), layout="constrained")
    for axes, (key, curve) in zip(figure.subplots(1, len(curves), squeeze=False)[0], curves.items(), strict=True):
        for column in ("loss", "held_out"):
            axes.plot([p["epoch"] for p in curve], [p[column] for p in curve], label=column.replace("_", " "))
        axes.set(title=f"{name}: {key}", xlabel="epoch")
        axes.legend()
    figure.savefig(folder / f"{name}.png", dpi=120)


def _plain(value: Any) -> Any:
    return asdict(value) if isinstance(value, Settings) else float(value)
