"""What a case may hold: keys, kinds, units, defaults and examples, all read from the models' JSON Schema."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Iterator
from typing import Any, get_args

__all__ = ["Part", "child", "entry", "kinds", "members", "resolve", "root_part", "sample", "schema"]

type Part = dict[str, Any]  # one piece of a JSON Schema


def schema() -> Part:
    """Return the JSON Schema of a case file, for editors and other programs."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "fem-spall case"}
    result = {**copy.deepcopy(root_part()), **head}
    result["properties"]["include"] = {"type": "string", "description": "one base file that this file is laid over"}
    return result


def kinds() -> list[Part]:
    """Return every kind a case can name: group, kind, what it is, and its keys with unit, default and choices."""
    top = root_part()["properties"]
    crack = resolve(top["cracks"])["items"]
    groups = {
        "cracks": crack,
        "regions": resolve(top["regions"])["items"],
        "interface of a crack or an electrode": child(next(iter(members(crack).values())), "interface"),
        "walls, the other faces of the block": resolve(top["walls"])["additionalProperties"],
        "electrolyte.conductivity": (conductivity := child(top["electrolyte"], "conductivity")),
        "part of the electrolyte": resolve(child(conductivity, "parts", "parts"))["items"],
    }
    listed = [
        {"group": group, "kind": kind, "about": _first_words(member), "keys": _keys(member)}
        for group, part in groups.items()
        for kind, member in members(part).items()
    ]
    return [*listed, *_closed_forms()]


def _closed_forms() -> Iterator[Part]:
    from fem_spall.analytic import POTENTIALS

    for name, function in POTENTIALS.items():
        keys = []
        for key, parameter in list(inspect.signature(function, eval_str=True).parameters.items())[1:]:
            plain, unit = get_args(parameter.annotation)
            what = unit.word if plain is float else f"list of {unit.word}"
            keys.append({"key": key, "required": True, "what": what, "unit": unit.si, "example": unit.example})
        about = (function.__doc__ or "").strip().split("\n")[0]
        yield {"group": "solution of exact_potential", "kind": name, "about": about, "keys": keys}


def _first_words(part: Part) -> str:
    """First paragraph of a docstring, on one line."""
    return str(part.get("description", "")).split("\n\n")[0].replace("\n", " ").replace("``", "'")


def _keys(model: Part) -> list[Part]:
    """Keys of one model but ``kind``: what each takes, its unit, default, choices and whether it must be given."""
    keys, told = [], _attributes(str(model.get("description", "")))
    for key, raw in model["properties"].items():
        if key == "kind":
            continue
        part = resolve(raw)
        required = key in model.get("required", [])
        record: Part = {"key": key, "required": required, **_what(part)}
        if not required and (default := _given(raw.get("default"))) is not None:
            record["default"] = default
        if "properties" in part and "kind" not in part["properties"]:
            record["keys"] = _keys(part)
        if about := raw.get("description") or told.get(key):
            record["about"] = about
        keys.append(record)
    return keys


def _attributes(docstring: str) -> dict[str, str]:
    """The section ``Attributes`` of a NumPy docstring, by key."""
    _, _, section = docstring.partition("Attributes\n----------\n")
    told: dict[str, str] = {}
    key = ""
    for line in section.splitlines():
        if line.strip() and not line.startswith(" "):
            key = line.split(":")[0].strip()
        elif line.strip() and key:
            told[key] = f"{told[key]} {line.strip()}" if key in told else line.strip()
    return told


def _given(default: Any) -> Any:
    """Default without the keys that say nothing; None if nothing is left."""
    if isinstance(default, dict):
        return {key: value for key, value in default.items() if value is not None} or None
    return default


def _what(part: Part) -> Part:
    """What a key takes."""
    if models := members(part):
        return {"what": "mapping with a kind", "choices": list(models)}
    if "properties" in part:
        return {"what": "mapping"}
    if "prefixItems" in part:
        first = _what(resolve(part["prefixItems"][0]))
        return {**first, "what": f"list of {len(part['prefixItems'])} x {first['what']}", "example": sample(part)}
    if "items" in part:
        first = _what(resolve(part["items"]))
        return {**first, "what": f"list of {first['what']}", "example": sample(part)}
    if "unit" in part:
        return {"what": part["title"], "unit": part["unit"], "example": part["examples"][0]}
    if "const" in part or "enum" in part:
        return {"what": "one of", "choices": part.get("enum") or [part["const"]]}
    words = {"integer": "whole number", "boolean": "true or false", "string": "text", "object": "mapping"}
    if part.get("format") == "path":
        return {"what": "path of a file"}
    return {"what": words.get(part.get("type", ""), part.get("type", "anything"))}


@functools.cache
def root_part() -> Part:
    """Return the schema of the whole case."""
    from fem_spall.case import Case

    return Case.model_json_schema()


def resolve(part: Part) -> Part:
    """Follow a reference, and step through 'this or nothing' and 'this or a word'."""
    if "$ref" in part:
        return resolve(root_part()["$defs"][part["$ref"].rpartition("/")[2]])
    options = [option for option in part.get("anyOf", []) if option.get("type") != "null" and "const" not in option]
    return resolve(options[0]) if len(options) == 1 else part


def members(part: Part) -> dict[str, Part]:
    """Return the models that a key ``kind`` chooses between, by kind; empty where there is no such choice."""
    part = resolve(part)
    options = [resolve(option) for option in (*part.get("oneOf", []), *part.get("anyOf", []))]
    return {
        option["properties"]["kind"]["const"]: option
        for option in options
        if "const" in option.get("properties", {}).get("kind", {})
    }


def child(part: Part, step: str | int, kind: object = None) -> Part:
    """Return the schema of one key or list entry; ``kind`` chooses where there are several models."""
    part = resolve(part)
    if models := members(part):
        part = models.get(str(kind), {})
    if isinstance(step, int):
        prefix = part.get("prefixItems", [])
        return resolve(prefix[step] if step < len(prefix) else part.get("items") or {})
    more = part.get("additionalProperties")
    return resolve(part.get("properties", {}).get(step, more if isinstance(more, dict) else {}))


def entry(key: str, part: Part) -> str:
    """Return ``key: value`` to offer for a key."""
    return f"{key}: {sample(part)}"


def sample(part: Part) -> str:
    """Return a value to offer, as YAML text."""
    part = resolve(part)
    if models := members(part):
        first = next(iter(models.values()))
        shorthand = any(option.get("type") == "string" for option in part.get("anyOf", []))
        return sample(first["properties"][first["required"][0]]) if shorthand else sample(first)
    if "prefixItems" in part:
        return f"[{', '.join(map(sample, part['prefixItems']))}]"
    if "items" in part:
        return f"[{sample(part['items'])}]"
    if properties := part.get("properties"):
        open_ones = [key for key, raw in properties.items() if raw.get("default") is None]
        required = part.get("required") or open_ones[:1] or list(properties)[:1]
        keys = sorted(
            (key for key in properties if key in required or key == "kind"), key=lambda key: key not in ("name", "kind")
        )
        return "{" + ", ".join(entry(key, properties[key]) for key in keys) + "}"
    if isinstance(part.get("additionalProperties"), dict):
        return f"{{{entry(part.get('propertyNames', {}).get('enum', ['...'])[0], part['additionalProperties'])}}}"
    choices = part.get("examples") or part.get("enum") or [part.get("const", part.get("default", part.get("minimum")))]
    return "..." if choices[0] is None else str(choices[0]).lower() if isinstance(choices[0], bool) else str(choices[0])
