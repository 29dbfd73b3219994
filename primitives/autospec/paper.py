"""AutoSpec's coefficient engine as its paper has it: from Ritz values and their residuals to a recurrence.

Liu, Balabanov, Yang and Mahoney, "Learning to Discover Iterative Spectral Algorithms" (arXiv:2602.09530), section 4 and
appendix B: an embedding makes a short vector e of a probe (algorithms 2 and 3), and a backbone of one layer for each
transition makes the coefficients of e (algorithm 1). Three tasks:

- "linear_system": p for which x p(x) is flat on the spectrum of a positive definite matrix; degree 11
- "eigenproblem": p that is large on the k largest eigenvalues and small beyond the l-th; degree 21
- "inverse_square_root": p near x^(-1/2); degree 21

Inference is numpy. Weights are in `data/paper_<task>.npz`; `autonla.planner.autospec.paper` trains them.

Where the paper contradicts itself: algorithm 2 applies W3 in its second subnetwork (line 4), whose shape is that of the
first; W2 is meant. Algorithm 3 applies W3 twice (line 3) and has a W4; W4 is meant. Algorithm 3 puts two vectors of
five together and says that e has five numbers: it has ten. The window of appendix B.2 starts its second part at the
k-th value; here it starts after it, so that the window of a probe of the network's own size is that probe, which is the
input of algorithm 2. Values are left out or repeated evenly, as appendix E does (10 of the target, 94 of the others).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..polynomials import Recurrence
from .network import DATA, gelu, read

LAYERS = {"linear_system": 10, "eigenproblem": 20, "inverse_square_root": 20}
"""Transitions of each task; the degree of the polynomial is one more."""
GUARD = 1e-8
"""Added to the scaling factor of a layer (algorithm 1)."""
ENDS = 20
"""Ritz values that are seen at each end of the spectrum (appendix B.2)."""
TARGETS, WINDOW = 10, 104
"""Size of the network for eigenproblems: k0, and l0 = 10 + 94 (appendix E)."""

_BACKBONE = ("backbone_W", "backbone_w", "backbone_b", "backbone_c")
_EMBEDDING = ("embedding_W1", "embedding_W2", "embedding_W3", "embedding_W4")


@dataclass(frozen=True, slots=True)
class Backbone:
    """Algorithm 1, all layers at once: affine in e, and divided by what is affine in e too.

    Attributes
    ----------
    W : (layers, size, 5) array
    w : (layers, size) array
    b : (layers, 5) array
    c : (layers,) array
        The scalar bias b_k of the paper.
    """

    W: np.ndarray
    w: np.ndarray
    b: np.ndarray
    c: np.ndarray

    def __call__(self, e: np.ndarray) -> Recurrence:
        """The recurrence for e : (size,). Raises ValueError where a coefficient is not finite."""
        coefficients = np.tensordot(self.W, e, (1, 0)) + self.b
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            coefficients[:, 1:] /= (self.w @ e + self.c + GUARD)[:, None]
        rho, *others = coefficients.T.tolist()
        return Recurrence(rho[:-1], *others)


@dataclass(frozen=True, slots=True)
class LinearSystemEmbedding:
    """Algorithm 3, which serves functions of matrices too: two subnetworks, one for each end of the spectrum.

    Attributes
    ----------
    W1, W2 : (2 ends, hidden) array
    W3, W4 : (hidden, 5) array
    """

    W1: np.ndarray
    W2: np.ndarray
    W3: np.ndarray
    W4: np.ndarray

    def __call__(self, values: np.ndarray, residuals: np.ndarray) -> np.ndarray:
        """e : (10,) of values : (k,), descending, and their residual norms."""
        x1, x2 = ends(values, residuals, len(self.W1) // 2)
        y1, y2 = np.abs(gelu(x1 @ self.W1) @ self.W3), np.abs(gelu(x2 @ self.W2) @ self.W4)
        return np.concatenate([np.sort(y1)[::-1], np.sort(y2)[::-1]])


@dataclass(frozen=True, slots=True)
class EigenEmbedding:
    """Algorithm 2: one subnetwork for what is known of the k-th eigenvalue, one for those around the l-th.

    Attributes
    ----------
    W1, W2 : (2 window, hidden) array
    W3 : (hidden, targets) array
    W4 : (hidden, 4) array
    """

    W1: np.ndarray
    W2: np.ndarray
    W3: np.ndarray
    W4: np.ndarray

    def __call__(self, values: np.ndarray, residuals: np.ndarray, k: int, l: int) -> np.ndarray:
        """e : (5,) of values : (l or more,), descending, and their residual norms."""
        chosen = window(k, l, self.W3.shape[1], len(self.W1) // 2)
        x = np.concatenate([values[chosen], residuals[chosen]])
        y1, y2 = gelu(x @ self.W1) @ self.W3, gelu(x @ self.W2) @ self.W4
        return np.concatenate([[np.abs(y1).min()], y2])


def ends(values: np.ndarray, residuals: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The inputs (..., 2 count) of algorithm 3: values, then residuals, of the largest ones, and of the smallest.

    Parameters
    ----------
    values, residuals : (..., k) array
        Values descending. Where k < count they are repeated evenly.
    """
    k = values.shape[-1]
    first = _spread(0, k - 1, count) if k < count else np.arange(count)
    last = first if k < count else np.arange(k - count, k)
    return (
        np.concatenate([values[..., first], residuals[..., first]], axis=-1),
        np.concatenate([values[..., last], residuals[..., last]], axis=-1),
    )


def window(k: int, l: int, targets: int, size: int) -> np.ndarray:
    """Indices (size,), from zero, of the values of a probe that algorithm 2 is shown, for any k < l.

    The first `targets` are among the k largest, and the last one of them is the k-th; the others are those after it,
    and the last one is the l-th. Too many are thinned out evenly, too few repeated evenly.
    """
    if not 1 <= k < l:
        raise ValueError(f"k = {k!r} and l = {l!r} must be one or more, and l above k")
    return np.concatenate([_spread(0, k - 1, targets), _spread(k, l - 1, size - targets)])


def _spread(first: int, last: int, count: int) -> np.ndarray:
    """`count` indices from first to last, ending with last."""
    # from the end, so that the last one is there even where there is room for one only
    steps = np.arange(count)[::-1] / max(1, count - 1)
    return last - np.floor((last - first) * steps + 0.5).astype(np.intp)


@dataclass(frozen=True, slots=True)
class PaperEngine:
    """An embedding and a backbone that were trained for a task.

    Attributes
    ----------
    task : {"linear_system", "eigenproblem", "inverse_square_root"}
    backbone : Backbone
    embedding : LinearSystemEmbedding or EigenEmbedding
    """

    task: str
    backbone: Backbone
    embedding: Any

    @classmethod
    def load(cls, task: str, path: str | Path | None = None) -> PaperEngine:
        """The engine of a task: the one that is shipped, or one that was trained into a file.

        Parameters
        ----------
        task : {"linear_system", "eigenproblem", "inverse_square_root"}
        path : str or Path, optional
            Of the weights, an .npz file.

        Raises
        ------
        ValueError
            If the task is not one of these, or the file does not hold its weights.
        FileNotFoundError
            If there is no such file.
        """
        if task not in LAYERS:
            raise ValueError(f"task = {task!r} is not one of {', '.join(LAYERS)}")
        return cls.of_weights(task, read(DATA / f"paper_{task}.npz" if path is None else Path(path)))

    @classmethod
    def of_weights(cls, task: str, weights: dict[str, np.ndarray]) -> PaperEngine:
        """From arrays by name. Raises ValueError where one is missing, of another shape, or not finite."""
        names = (*_BACKBONE, *_EMBEDDING)
        missing = [name for name in names if name not in weights]
        if missing:
            raise ValueError(f"the weights of {task!r} lack {', '.join(missing)}")
        for name in names:
            if np.asarray(weights[name]).dtype.kind != "f":
                raise ValueError(f"the weights {name} of {task!r} are no floating-point numbers")
        arrays = {name: np.asarray(weights[name], dtype=np.float64) for name in names}
        shapes = {name: array.shape for name, array in arrays.items()}
        hidden = shapes["embedding_W1"][-1:]
        if task == "eigenproblem":
            size, inputs, outputs = 5, 2 * WINDOW, (TARGETS, 4)
        else:
            size, inputs, outputs = 10, 2 * ENDS, (5, 5)
        d = LAYERS[task]
        expected = {
            "backbone_W": (d, size, 5),
            "backbone_w": (d, size),
            "backbone_b": (d, 5),
            "backbone_c": (d,),
            "embedding_W1": (inputs, *hidden),
            "embedding_W2": (inputs, *hidden),
            "embedding_W3": (*hidden, outputs[0]),
            "embedding_W4": (*hidden, outputs[1]),
        }
        for name, shape in expected.items():
            if shapes[name] != shape or len(shape) != arrays[name].ndim:
                raise ValueError(f"the weights {name} of {task!r} are of shape {shapes[name]}, and should be {shape}")
            if not np.isfinite(arrays[name]).all():
                raise ValueError(f"the weights {name} of {task!r} are not all finite")
        embedding = EigenEmbedding if task == "eigenproblem" else LinearSystemEmbedding
        return cls(
            task, Backbone(*(arrays[name] for name in _BACKBONE)), embedding(*(arrays[name] for name in _EMBEDDING))
        )

    def __call__(
        self, values: ArrayLike, residuals: ArrayLike, *, k: int | None = None, l: int | None = None
    ) -> Recurrence:
        """The polynomial for a matrix of which a probe has seen this.

        Parameters
        ----------
        values : (r,) array_like
            Ritz values in any order; all positive but for eigenproblems.
        residuals : (r,) array_like
            Norms of the residuals of unit Ritz vectors, not negative.
        k, l : int, optional
            Of eigenproblems: how many of the largest eigenvalues are wanted, and with which one after them should not
            be; r >= l > k.

        Returns
        -------
        Recurrence
            Of radius the largest Ritz value with its residual. For a linear system any multiple will do; the
            approximation to x^(-1/2) is scaled to that of the matrix itself. What it does is not bounded: see that it
            is positive on the spectrum before it is used (`Recurrence.extremes`).

        Raises
        ------
        ValueError
            If the probe is not as above, or the coefficients overflow.
        """
        theta, r = np.asarray(values, dtype=np.float64), np.asarray(residuals, dtype=np.float64)
        if theta.ndim != 1 or theta.shape != r.shape or not theta.size:
            raise ValueError(f"values of shape {theta.shape} and residuals of shape {r.shape} are no probe")
        if not (np.isfinite(theta).all() and np.isfinite(r).all() and (r >= 0.0).all()):
            raise ValueError("a Ritz value is not finite, or a residual not finite or negative")
        order = np.argsort(theta)[::-1]
        theta, r = theta[order], r[order]
        radius = float(theta[0] + r[0])
        if not radius > 0.0 or (self.task != "eigenproblem" and not theta[-1] > 0.0):
            raise ValueError(f"Ritz values from {theta[-1]:.3g} to {theta[0]:.3g} are not those of a positive matrix")
        theta, r = theta / radius, r / radius
        if self.task == "eigenproblem":
            if k is None or l is None or not 1 <= k < l <= len(theta):
                raise ValueError(
                    f"there is no 1 <= k < l in a probe of {len(theta)} values with k = {k!r} and l = {l!r}"
                )
            e = self.embedding(theta, r, k, l)
        else:
            e = self.embedding(theta, r)
        p = self.backbone(e)
        constant = radius**-0.5 if self.task == "inverse_square_root" else 1.0
        return _of_radius(p.scaled(constant), radius)


def _of_radius(p: Recurrence, radius: float) -> Recurrence:
    return Recurrence(p.rho, p.gamma, p.eta, p.alpha, p.beta, radius=radius)


__all__ = ["LAYERS", "Backbone", "EigenEmbedding", "LinearSystemEmbedding", "PaperEngine", "ends", "window"]
