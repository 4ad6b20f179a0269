"""The changes that are made to a file, one at a time: what a mutant is."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_COMPARED = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
Changed = ast.expr | ast.stmt
_COMPUTED = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult}


class Mutant(NamedTuple):
    """One change: where, what it was and is, the file with it, and whether it lies within a function."""

    line: int
    change: str
    tree: ast.Module
    inside: bool


def mutants_of(source: str, names: Sequence[str] = ()) -> Iterator[Mutant]:
    """Every mutant of a file."""
    tree = ast.parse(source)
    for place, (node, inside) in enumerate(_meant(tree, names)):
        before = ast.unparse(node).splitlines()[0]
        for number in range(len(_changes(node))):
            changed = copy.deepcopy(tree)
            twin, _ = _meant(changed, names)[place]
            after = _changes(twin)[number]
            told = "pass" if isinstance(after, ast.Pass) else ast.unparse(after).splitlines()[0]
            _put(changed, twin, ast.copy_location(after, twin))
            yield Mutant(node.lineno, f"{before} -> {told}", changed, inside)


def _meant(tree: ast.Module, names: Sequence[str]) -> list[tuple[Changed, bool]]:
    """Nodes that do something, and whether in a function: no docstrings, annotations, decorators, messages, or imports."""
    found: list[tuple[Changed, bool]] = []

    def walk(node: ast.AST, inside: bool) -> None:
        if isinstance(node, ast.expr | ast.stmt):
            found.append((node, inside))
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list", "type_params", "bases"):
                continue
            if isinstance(node, ast.Raise) or (isinstance(node, ast.Assert) and name == "msg"):
                continue  # what an error says is prose
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, ast.AST) and not _idle(one):
                    walk(one, inside or (isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and name == "body"))

    for node in tree.body:
        if not _idle(node) and (not names or getattr(node, "name", None) in names):
            walk(node, False)
    return found


def _idle(node: ast.AST) -> bool:
    """Prose, imports and types: nothing that happens."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    named = getattr(node, "func", getattr(node, "value", None))
    return isinstance(node, ast.JoinedStr | ast.Import | ast.ImportFrom) or getattr(named, "id", "") in (
        "TypeVar",
        "Literal",
    )


def _changes(node: Changed) -> list[Changed]:
    """What may stand in the node's place."""
    made: list[Changed] = []
    if isinstance(node, ast.Compare) and len(node.ops) >= 1:
        for at, operator in enumerate(node.ops):
            for other in _COMPARED[type(operator)]:
                made.append(ast.Compare(node.left, [*node.ops[:at], other(), *node.ops[at + 1 :]], node.comparators))
    elif isinstance(node, ast.BoolOp):
        made.append(ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values))
        made += [
            value if len(node.values) == 2 else ast.BoolOp(node.op, [one for one in node.values if one is not gone])
            for value, gone in zip(node.values, reversed(node.values), strict=True)
        ]
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        made.append(node.operand)
    elif isinstance(node, ast.BinOp) and type(node.op) in _COMPUTED:
        made.append(ast.BinOp(node.left, _COMPUTED[type(node.op)](), node.right))
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        made.append(ast.Constant(not node.value))
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        made.append(ast.Constant(node.value + 1))
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.replace("_", "").isalnum():
        made.append(ast.Constant(node.value + "_"))
    elif isinstance(node, ast.Set | ast.Tuple) and isinstance(getattr(node, "ctx", ast.Load()), ast.Load):
        rest = [[one for one in node.elts if one is not gone] for gone in node.elts]
        made += [
            type(node)(elts, **({"ctx": ast.Load()} if isinstance(node, ast.Tuple) else {})) for elts in rest if elts
        ]
        made += [ast.Call(ast.Name("set", ast.Load()), [], [])] if isinstance(node, ast.Set) and not rest[0] else []
    elif isinstance(node, ast.IfExp):
        made += [node.body, node.orelse]
    elif isinstance(node, ast.If | ast.While):
        made.append(type(node)(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse))
    elif isinstance(node, ast.Return) and node.value is not None and not _is_none(node.value):
        made.append(ast.Return(ast.Constant(None)))
    elif isinstance(node, ast.Raise | ast.AugAssign) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    ):
        made.append(ast.Pass())
    elif isinstance(node, ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp):
        for part in node.generators:
            if part.ifs:
                twin = copy.deepcopy(node)
                twin.generators[node.generators.index(part)].ifs = []
                made.append(twin)
    return made


def _is_none(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is None


def _put(tree: ast.AST, old: ast.AST, new: ast.AST) -> None:
    for node in ast.walk(tree):
        for name, value in ast.iter_fields(node):
            if value is old:
                setattr(node, name, new)
            elif isinstance(value, list) and any(one is old for one in value):
                setattr(node, name, [new if one is old else one for one in value])
    ast.fix_missing_locations(tree)
