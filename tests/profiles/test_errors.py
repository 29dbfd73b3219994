from __future__ import annotations

import copy
import pickle
import warnings

import pytest

from autonla import profiles
from autonla.profiles import errors

TREE = {
    errors.InvalidProblem: (errors.AutonlaError, ValueError),
    errors.NonFiniteInput: (errors.InvalidProblem,),
    errors.UnsupportedDtype: (errors.InvalidProblem,),
    errors.DeclarationMismatch: (errors.InvalidProblem,),
    errors.InvalidBudget: (errors.AutonlaError, ValueError),
    errors.InfeasibleBudget: (errors.AutonlaError,),
    errors.CertificationFailed: (errors.AutonlaError,),
    errors.NoAlgorithm: (errors.AutonlaError,),
    errors.ProfileError: (errors.AutonlaError,),
    errors.PlanError: (errors.AutonlaError, ValueError),
    errors.BackendUnavailable: (errors.AutonlaError,),
    errors.BudgetExceeded: (errors.AutonlaError,),
}

FILLED = [
    errors.AutonlaError("message"),
    errors.InvalidProblem("message", argument="A", found="NaN at (0, 3)"),
    errors.NonFiniteInput("message", argument="A", found="NaN at (0, 3)"),
    errors.UnsupportedDtype("message", argument="b", found="object"),
    errors.DeclarationMismatch("message", argument="assume", found="not symmetric"),
    errors.InvalidBudget("message", argument="latency", found="-2 s"),
    errors.InfeasibleBudget("message", nearest=["a", "b"], plan={"chosen": None}),
    errors.CertificationFailed("message", solution={"x": 1.0}, tried=["lu", "qr"]),
    errors.NoAlgorithm("message", kind="trace"),
    errors.ProfileError("message"),
    errors.PlanError("message"),
    errors.BackendUnavailable("message", backend="cupy"),
    errors.BudgetExceeded("message", resource="memory", plan={"chosen": "lu"}, solution={"x": 1.0}, tried=["lu"]),
]


def test_the_tree_is_complete_and_as_documented():
    defined = {c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.AutonlaError)}
    assert defined - {errors.AutonlaError} == TREE.keys()
    for error, bases in TREE.items():
        assert error.__bases__ == bases
        assert error.__name__ in (errors.__doc__ or "")
        assert getattr(profiles, error.__name__) is error
    assert {type(error) for error in FILLED} == defined


@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))])
@pytest.mark.parametrize("error", FILLED, ids=lambda error: type(error).__name__)
def test_an_error_keeps_its_message_and_facts_when_copied(error, clone):
    again = clone(error)
    assert type(again) is type(error)
    assert str(again) == "message"
    assert vars(again) == vars(error)


def test_what_is_carried_cannot_be_changed_by_the_caller():
    nearest = ["a"]
    error = errors.InfeasibleBudget("message", nearest=nearest)
    nearest.append("b")
    assert error.nearest == ("a",)
    assert errors.CertificationFailed("message", tried=["lu"]).tried == ("lu",)


def test_the_warning_is_a_user_warning():
    with pytest.warns(UserWarning, match="careful"):
        warnings.warn("careful", errors.AutonlaWarning, stacklevel=1)
