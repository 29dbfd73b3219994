"""The README's first example: a tall least-squares problem to eight digits."""

import numpy as np

import autonla as nla

rng = np.random.default_rng(0)
V, _ = np.linalg.qr(rng.standard_normal((200, 200)))
A = (rng.standard_normal((100_000, 200)) * np.geomspace(1, 1e-4, 200)) @ V.T  # condition number about 1e4
b = A @ rng.standard_normal(200) + 0.1 * rng.standard_normal(100_000)

problem, budget = nla.LeastSquares(A, b), nla.Budget(accuracy=1e-8)
nla.solve(problem, budget, rng=0)  # the first call in a process loads libraries and compiles the sketch kernel
solution = nla.solve(problem, budget, rng=0)
print(solution.explain())
