"""Small multilayer perceptrons without torch: their weights in a file of plain numbers, and what they compute."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

DATA = Path(__file__).parent / "data"
"""Where the shipped weights are."""


@dataclass(frozen=True)
class Perceptron:
    """x -> W_L gelu(... gelu(W_1 (x - mean) / scale + b_1) ...) + b_L.

    Attributes
    ----------
    mean, scale : (inputs,) array
        Of the inputs that it was trained with.
    weights : tuple of (inputs, outputs) array
    biases : tuple of (outputs,) array

    Raises
    ------
    ValueError
        If the shapes do not fit together, or a number is not finite.
    """

    mean: np.ndarray
    scale: np.ndarray
    weights: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]

    def __post_init__(self) -> None:
        width = len(self.mean)
        if self.mean.shape != (width,) or self.scale.shape != (width,) or not (self.scale > 0.0).all():
            raise ValueError("mean and scale are two vectors of one length, scale positive")
        if len(self.weights) != len(self.biases) or not self.weights:
            raise ValueError(f"{len(self.weights)} matrices and {len(self.biases)} biases: one of each for every layer")
        for W, b in zip(self.weights, self.biases, strict=True):
            if W.ndim != 2 or W.shape[0] != width or b.shape != (W.shape[1],):
                raise ValueError(
                    f"a layer of {W.shape} with a bias of {b.shape} does not follow one of {width} outputs"
                )
            width = W.shape[1]
        for array in (self.mean, self.scale, *self.weights, *self.biases):
            if not np.isfinite(array).all():
                raise ValueError("a weight is not finite")

    @property
    def inputs(self) -> int:
        return len(self.mean)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """(..., inputs) -> (..., outputs)."""
        y = (x - self.mean) / self.scale
        last = len(self.weights) - 1
        for layer, (W, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            y = y @ W + b
            if layer < last:
                y = gelu(y)
        return y


def gelu(x: np.ndarray) -> np.ndarray:
    """x Phi(x), Phi the normal distribution function (Hendrycks and Gimpel 2016)."""
    from scipy.special import ndtr

    return x * ndtr(x)


def read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file of weights, as float64. Nothing in it is executed.

    Raises
    ------
    ValueError
        If the file is missing or damaged.
    """
    try:
        with path.open("rb") as stream:  # numpy leaves a file open that it opened itself and could not read
            archive: Any = np.load(stream, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise ValueError("it is a single array")
            return {key: archive[key].astype(np.float64) for key in archive.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} does not hold weights: {error}") from error


def perceptron(arrays: dict[str, Any], prefix: str) -> Perceptron:
    """Of the arrays `prefix.mean`, `prefix.scale`, `prefix.W0`, `prefix.b0`, `prefix.W1`, ...

    Raises
    ------
    ValueError
        If one is missing, or they do not fit together.
    """
    try:
        count = sum(key.startswith(f"{prefix}.W") for key in arrays)
        weights, biases = (tuple(arrays[f"{prefix}.{letter}{i}"] for i in range(count)) for letter in "Wb")
        return Perceptron(arrays[f"{prefix}.mean"], arrays[f"{prefix}.scale"], weights, biases)
    except KeyError as error:
        raise ValueError(f"the weights of {prefix} lack {error}") from error


__all__ = ["DATA", "Perceptron", "gelu", "perceptron", "read"]
