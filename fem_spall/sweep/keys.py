"""Keys of the base case as formulas see them: their values with units, and what a formula's result becomes in YAML."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fem_spall.case import Case
from fem_spall.case_file import refusal
from fem_spall.case_schema import child, resolve, root_part
from fem_spall.quantity import measured
from fem_spall.sweep.axes import Row
from fem_spall.sweep.expression import FormulaError, Value
from fem_spall.sweep.sweep_file import Derived
from fem_spall.yaml_tree import Fault, Node

__all__ = ["Keys"]

#: Units in which symbols that follow from formulas are written.
USUAL = ("um", "um^2", "um^3", "ohm*cm^2", "mS/cm", "mA/cm^2", "mV", "kV/m", "nA")


class Keys:
    """What is known of the keys: the tree of the base case, and the case with its defaults."""

    def __init__(self, root: Node, case: Case) -> None:
        self._root = root
        self._resolved = case.model_dump(mode="json")

    def lookup(self, base: Node, row: Row) -> Callable[[str], Value]:
        """Return a function from name to value: of this row, else of the base case, else its default."""

        def value(name: str) -> Value:
            found = row[name].plain() if name in row else self._given(name, row)
            if isinstance(found, bool):
                return found
            try:
                return measured(found)
            except ValueError:
                raise FormulaError(f"{name} is {found!r}, no number to reckon with") from None

        return value

    def _given(self, name: str, row: Row) -> Any:
        """Value of a key: in a larger piece that the row sets, in the base case, or by default."""
        if "." not in name:
            raise FormulaError(f"there is no symbol {name!r}; a key is written with its whole path")
        steps = name.split(".")
        for cut in range(len(steps) - 1, 0, -1):
            if (head := ".".join(steps[:cut])) in row:
                return _walk(row[head].plain(), steps[cut:], name)
        for tree in (self._root.plain(), self._resolved):
            try:
                return _walk(tree, steps, name)
            except FormulaError as error:
                fault = error
        raise fault

    def evaluate(self, entry: Derived, lookup: Callable[[str], Value], path: Path) -> Value:
        """Return the value of a formula.

        Raises
        ------
        CaseError
            At the formula's place, if it has none.
        """
        try:
            return entry.formula.value(lookup)
        except FormulaError as error:
            raise refusal([Fault.at(entry.node.place, entry.name, f"{error}. Correct the formula")], path, 3) from None

    def written(self, entry: Derived, value: Value, path: Path) -> Any:
        """Return a formula's value as a case file has it: text in the key's unit, or a number.

        Raises
        ------
        CaseError
            At the formula's place, if the key has another dimension.
        """
        import pint

        if isinstance(value, bool):
            return value
        unit = self._unit(entry.name)
        if unit is None:
            usual = (unit for unit in USUAL if value.is_compatible_with(unit)) if not value.dimensionless else ("",)
            unit = next(iter(usual), None)
            if unit is None:
                return f"{value.magnitude:.12g} {value.units:~C}"
        try:
            number = float(f"{value.to(unit).magnitude:.12g}")
        except pint.DimensionalityError as error:
            message = f"{error}. The key is in {unit or 'pure numbers'}"
            raise refusal([Fault.at(entry.node.place, entry.name, message)], path, 3) from None
        if unit:
            return f"{number:.12g} {unit}"
        return int(number) if number.is_integer() and abs(number) < 1e15 else number

    def _unit(self, key: str) -> str | None:
        """Unit of a key, in which it is written usually; None where the schema has none or it is a symbol."""
        if "." not in key:
            return None
        part, node = root_part(), self._root
        for step in key.split("."):
            inner = node.value
            index: str | int = step
            if isinstance(inner, list):
                names = [entry.entry("name") for entry in inner]
                index = names.index(step) if step in names else int(step) if step.isdigit() else 0
                following = inner[index] if index < len(inner) else Node(None, node.place)
            else:
                following = inner.get(step, Node(None, node.place)) if isinstance(inner, dict) else node
            part = child(part, index, node.entry("kind"))
            node = following
        options = [resolve(part), *(resolve(option) for option in resolve(part).get("anyOf", []))]
        sample = next((str(option["examples"][0]) for option in options if "unit" in option), None)
        return sample.split(" ", 1)[1] if sample else None


def _walk(tree: Any, steps: list[str], name: str) -> Any:
    for step in steps:
        if isinstance(tree, dict) and step in tree:
            tree = tree[step]
        elif isinstance(tree, (list, tuple)):
            names = [entry.get("name") if isinstance(entry, dict) else None for entry in tree]
            index = names.index(step) if step in names else int(step) if step.isdigit() else len(tree)
            if index >= len(tree):
                raise FormulaError(f"there is no key {name!r}")
            tree = tree[index]
        else:
            raise FormulaError(f"there is no key {name!r}")
    return tree
