"""Torch, on whatever device its tensors are (on a CPU usually MKL, with a thread pool of its own)."""

from __future__ import annotations

import os
from typing import Any

import array_api_compat.torch as xp
import torch

from ..algorithm import Breakdown
from ._library import Array, Library, refuse_not_finite, refuse_not_finite_above

_EPS = {torch.float64: 2.0**-52, torch.float32: 2.0**-23}

if hasattr(os, "register_at_fork"):  # a child has none of the threads that OpenMP counts on, and would wait for them
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))


class TorchLibrary(Library):
    """Kernels of torch and torch.linalg."""

    name = "torch"
    xp = xp
    failure = torch.linalg.LinAlgError

    def asarray(self, a: Array, dtype: str | None = None) -> torch.Tensor:
        if not isinstance(a, torch.Tensor):
            if any(s < 0 for s in getattr(a, "strides", ())):
                a = a.copy()  # torch has no negative strides
            # from_numpy warns about read-only arrays; nothing here writes into its inputs, so sharing is safe
            a = torch.from_dlpack(a) if getattr(a, "flags", None) is None or a.flags.writeable else _shared(a)
        a = a.detach()
        return a if dtype is None else a.to(getattr(torch, dtype))

    def to_numpy(self, a: Array) -> Any:
        return a.detach().cpu().numpy()

    def astype(self, a: Array, dtype: str) -> torch.Tensor:
        return a.to(getattr(torch, dtype))

    def cholesky(self, G: Array) -> torch.Tensor:
        R, info = torch.linalg.cholesky_ex(G, upper=True)
        if int(info) != 0:
            message = f"Cholesky failed at pivot {int(info)}: not positive definite to working accuracy"
            raise Breakdown(message, pivot=int(info))
        return R

    def solve_triangular(self, R: Array, B: Array, *, transpose: bool = False, lower: bool = False) -> torch.Tensor:
        matrix = B[:, None] if B.ndim == 1 else B
        X = torch.linalg.solve_triangular(R.T if transpose else R, matrix, upper=lower == transpose)
        return X[:, 0] if B.ndim == 1 else X

    def right_solve_triangular(self, A: Array, R: Array) -> torch.Tensor:
        return torch.linalg.solve_triangular(R, A, upper=True, left=False)

    def lu_factor(self, A: Array, *, overwrite: bool = False) -> Any:
        LU, pivots, info = torch.linalg.lu_factor_ex(A)
        if int(info) != 0:
            raise Breakdown(f"the matrix is exactly singular (pivot {int(info)} is zero)")
        return LU, pivots

    def lu_solve(self, factor: Any, B: Array, *, transpose: bool = False) -> torch.Tensor:
        matrix = B[:, None] if B.ndim == 1 else B
        X = torch.linalg.lu_solve(*factor, matrix, adjoint=transpose)
        return X[:, 0] if B.ndim == 1 else X

    def qr(self, A: Array) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.linalg.qr(A)

    def qr_r(self, A: Array) -> torch.Tensor:
        return torch.linalg.qr(A, mode="r").R

    def eigh(self, S: Array) -> tuple[torch.Tensor, torch.Tensor]:
        refuse_not_finite_above(S)
        try:
            return torch.linalg.eigh(S, UPLO="U")
        except torch.linalg.LinAlgError as error:
            raise Breakdown("the eigenvalue iteration did not converge") from error

    def eigvalsh(self, S: Array) -> torch.Tensor:
        refuse_not_finite_above(S)
        try:
            return torch.linalg.eigvalsh(S, UPLO="U")
        except torch.linalg.LinAlgError as error:
            raise Breakdown("the eigenvalue iteration did not converge") from error

    def _lstsq(self, A: Array, b: Array, driver: str) -> torch.Tensor:
        refuse_not_finite(A, b)
        matrix = b[:, None] if b.ndim == 1 else b
        try:
            X = torch.linalg.lstsq(A, matrix, rcond=max(A.shape) * _EPS[A.dtype], driver=driver).solution
        except torch.linalg.LinAlgError as error:
            raise Breakdown(f"{driver} failed: {error}") from error
        return X[:, 0] if b.ndim == 1 else X

    def lstsq_svd(self, A: Array, b: Array) -> torch.Tensor:
        return self._lstsq(A, b, "gelsd")

    def lstsq_pivoted_qr(self, A: Array, b: Array) -> torch.Tensor:
        return self._lstsq(A, b, "gelsy")

    def lstsq_qr(self, A: Array, b: Array) -> torch.Tensor:
        return self._lstsq(A, b, "gels")


def _shared(a: Any) -> torch.Tensor:
    """A read-only numpy array as a tensor on the same memory."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(a)
