"""What computing with sparse matrices needs and SciPy does not have."""

from .incomplete_cholesky import IncompleteCholesky as IncompleteCholesky
from .incomplete_cholesky import incomplete_cholesky as incomplete_cholesky
from .minimum_degree import Elimination as Elimination
from .minimum_degree import minimum_degree as minimum_degree
