"""Every budget has an owner in the words of those who set it up."""

from __future__ import annotations

from uuid import UUID

import pytest

from scheduler.domain.work import BudgetKind, budget_id
from scheduler.services.explain.budget_names import BudgetNames

ID = UUID(int=7)


@pytest.mark.parametrize("kind", BudgetKind)
def test_every_kind_of_budget_is_somebodys(kind: BudgetKind) -> None:
    names = BudgetNames((), (), None)
    assert names.owner(budget_id(kind, ID)).id == str(ID)
    assert names.owner(budget_id(kind, ID)).scope != "item"


@pytest.mark.parametrize("kind", [BudgetKind.MODEL, BudgetKind.POOL, BudgetKind.ADDRESS])
def test_what_is_a_part_of_something_names_that(kind: BudgetKind) -> None:
    assert BudgetNames((), (), None).owner(budget_id(kind, f"{ID}-0123abcd")).id == str(ID)


def test_a_budget_of_no_known_kind_is_told_as_it_is() -> None:
    assert BudgetNames((), (), None).owner("odd-one").id == "odd-one"
