"""What `make mutants` changes, and what it leaves alone."""

from __future__ import annotations

from changes import mutants_of

SOURCE = """
'''prose'''
WAYS = {"A": {B, C}}
Kind = Literal["a", "b"]

@decorated(1)
def kept(value: int = 3) -> bool:
    \"\"\"Prose.\"\"\"
    if value < 2 and not value:
        raise KeyError("no" + "thing")
    return value
"""


def test_one_thing_is_changed_at_a_time_and_prose_and_types_are_not() -> None:
    changes = [(one.line, one.change, one.inside) for one in mutants_of(SOURCE)]

    assert changes == [
        (3, "'A' -> 'A_'", False),
        (3, "{B, C} -> {C}", False),
        (3, "{B, C} -> {B}", False),
        (7, "3 -> 4", False),
        (9, "if value < 2 and (not value): -> if not (value < 2 and (not value)):", True),
        (9, "value < 2 and (not value) -> value < 2 or not value", True),
        (9, "value < 2 and (not value) -> value < 2", True),
        (9, "value < 2 and (not value) -> not value", True),
        (9, "value < 2 -> value <= 2", True),
        (9, "value < 2 -> value >= 2", True),
        (9, "2 -> 3", True),
        (9, "not value -> value", True),
        (10, "raise KeyError('no' + 'thing') -> pass", True),
        (11, "return value -> return None", True),
    ]


def test_only_what_is_named_is_changed() -> None:
    assert {one.line for one in mutants_of(SOURCE, ["kept"])} == {7, 9, 10, 11}
