"""Formulas between keys, with units: ``cracks.slit.opening / 4 + 50 nm``.

A formula is parsed into Python's syntax tree, of which only arithmetic, comparisons, a few functions and names are
read here, one node at a time; nothing is ever evaluated as code.  A name is a key of the case, with a crack by name
or by index (``cracks.0.depth``), or a symbol of the sweep.  Powers are ``**``.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fem_spall.quantity import measured

if TYPE_CHECKING:
    import pint

__all__ = ["Formula", "FormulaError", "Value"]

type Value = pint.Quantity[float] | bool

LONGEST = 500  # characters

_UNIT = r"(?!(?:and|or|not|if|else|in|is)\b)[A-Za-zµμΩÅ°]+(?:(?:\^|\*\*)?-?[1-4])?(?![\w.(\[])"
_QUANTITY = re.compile(rf"(?<![\w.])([0-9]+\.?[0-9]*(?:[eE][-+]?[0-9]+)?)\s+({_UNIT}(?:(?:/|\s+){_UNIT})*)")
_INDEX = re.compile(r"([A-Za-z_]\w*(?:\[[0-9]+\])?)\.([0-9]+)(?!\w)")  # 'centre.2', as key paths have it
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.Pow: operator.pow, ast.Mod: operator.mod,
}  # fmt: skip
_COMPARISON: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge, ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}  # fmt: skip
#: Functions of pure numbers (angles in rad are pure numbers).
_PLAIN: dict[str, Callable[..., float]] = {
    "exp": math.exp, "log": math.log, "log10": math.log10, "sin": math.sin, "cos": math.cos, "tan": math.tan,
    "floor": math.floor, "ceil": math.ceil, "round": round,
}  # fmt: skip
_ANY: dict[str, Callable[..., Any]] = {"sqrt": lambda x: x**0.5, "abs": abs, "min": min, "max": max}


class FormulaError(ValueError):
    """A formula cannot be read or evaluated; says why and what to write."""


@dataclass(frozen=True)
class Formula:
    """A formula that has been read: its text, its tree, the names it uses."""

    text: str
    tree: ast.expr
    names: tuple[str, ...]

    @classmethod
    def read(cls, text: object) -> Formula:
        """Return the formula of a text.

        Raises
        ------
        FormulaError
            If it is not one, or does more than arithmetic.
        """
        if isinstance(text, (int, float)) and not isinstance(text, bool):
            text = repr(text)
        if not isinstance(text, str) or not text.strip() or len(text) > LONGEST:
            raise FormulaError(f"must be a formula of at most {LONGEST} characters; got {_shown(text)}")
        indexed = _INDEX.sub(r"\1[\2]", _INDEX.sub(r"\1[\2]", text.strip()))
        literal = _QUANTITY.sub(lambda m: f"'{m[1]} {' '.join(m[2].split())}'", indexed)
        try:
            tree = ast.parse(literal, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            reason = getattr(error, "msg", None) or str(error)
            raise FormulaError(f"is no formula ({reason}); got {_shown(text)}") from None
        names: dict[str, None] = {}
        _collect(tree, names)
        return cls(text.strip(), tree, tuple(names))

    def value(self, lookup: Callable[[str], Value]) -> Value:
        """Return what the formula gives with the values that ``lookup`` has for its names.

        Raises
        ------
        FormulaError
            If the units do not fit, or the result is no finite number.
        """
        import pint

        try:
            found: Value = _value(self.tree, lookup)
        except pint.DimensionalityError as error:
            raise FormulaError(f"units do not fit in {self.text!r}: {error}") from None
        except ZeroDivisionError:
            raise FormulaError(f"{self.text!r} divides by zero") from None
        except (ArithmeticError, TypeError, ValueError) as error:
            if isinstance(error, FormulaError):
                raise
            raise FormulaError(f"{self.text!r} cannot be evaluated: {error}") from None
        if not isinstance(found, bool) and not math.isfinite(found.magnitude):
            raise FormulaError(f"{self.text!r} gives no finite number")
        return found


def _shown(text: object) -> str:
    return repr(text) if len(repr(text)) <= 60 else f"{repr(text)[:57]}..."


def _collect(node: ast.expr, names: dict[str, None]) -> None:
    """Names of a tree, in order; refuses whatever is not arithmetic."""
    if isinstance(node, (ast.Name, ast.Attribute, ast.Subscript)):
        names[_dotted(node)] = None
    elif isinstance(node, ast.Call):
        known = (*_PLAIN, *_ANY)
        if not isinstance(node.func, ast.Name) or node.func.id not in known or node.keywords:
            raise FormulaError(f"knows only the functions {', '.join(known)}; got {_shown(ast.unparse(node))}")
        for argument in node.args:
            _collect(argument, names)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitXor):
        raise FormulaError(f"a power is '**'; got '^' in {_shown(ast.unparse(node))}")
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, bool) or not isinstance(node.value, (int, float, str)):
            raise FormulaError(f"must hold numbers, keys and symbols; got {node.value!r}")
        try:
            measured(node.value)
        except ValueError as error:
            raise FormulaError(f"{error}; put spaces round '/' before a key or symbol") from None
    elif (
        (isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC)
        or (isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd, ast.Not)))
        or (isinstance(node, ast.Compare) and all(type(op) in _COMPARISON for op in node.ops))
        or isinstance(node, (ast.BoolOp, ast.IfExp))
    ):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                _collect(child, names)
    else:
        raise FormulaError(f"must be arithmetic with + - * / ** ( ); got {_shown(ast.unparse(node))}")


def _dotted(node: ast.expr) -> str:
    """Key path that a tree of names, attributes and subscripts spells."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    if (
        isinstance(node, ast.Subscript)
        and isinstance(node.slice, ast.Constant)
        and isinstance(node.slice.value, (int, str))
    ):
        return f"{_dotted(node.value)}.{node.slice.value!s}"
    raise FormulaError(f"must name a key, such as cracks.slit.depth or cracks.0.depth; got {ast.unparse(node)!r}")


def _value(node: ast.expr, lookup: Callable[[str], Value]) -> Any:
    """Value of a tree: a quantity, or true or false."""
    if isinstance(node, ast.Constant):
        return measured(node.value)
    if isinstance(node, (ast.Name, ast.Attribute, ast.Subscript)):
        return lookup(_dotted(node))
    if isinstance(node, ast.BinOp):
        return _ARITHMETIC[type(node.op)](_value(node.left, lookup), _value(node.right, lookup))
    if isinstance(node, ast.UnaryOp):
        inner = _value(node.operand, lookup)
        return (not inner) if isinstance(node.op, ast.Not) else -inner if isinstance(node.op, ast.USub) else inner
    if isinstance(node, ast.BoolOp):
        parts = (bool(_value(part, lookup)) for part in node.values)
        return all(parts) if isinstance(node.op, ast.And) else any(parts)
    if isinstance(node, ast.IfExp):
        return _value(node.body if _value(node.test, lookup) else node.orelse, lookup)
    if isinstance(node, ast.Compare):
        terms = [_value(term, lookup) for term in (node.left, *node.comparators)]
        pairs = zip(node.ops, terms, terms[1:], strict=False)
        return all(bool(_COMPARISON[type(op)](a, b)) for op, a, b in pairs)
    assert isinstance(node, ast.Call)
    assert isinstance(node.func, ast.Name)
    arguments = [_value(argument, lookup) for argument in node.args]
    if node.func.id in _ANY:
        return _ANY[node.func.id](*arguments)
    return measured(_PLAIN[node.func.id](*(float(argument.to("").magnitude) for argument in arguments)))
