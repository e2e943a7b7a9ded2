"""Recipes: methods and their hyperparameters, written as ``adamw(lr=3e-4)+uba(phi=5)``."""

import ast
import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from thalweg.core.errors import RecipeError
from thalweg.core.method import Method, Space

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*(-[A-Za-z0-9]+)*")


@dataclass(frozen=True)
class Call:
    """One parsed ``name(argument=literal, ...)``."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Ingredient:
    """A method in a recipe, with the arguments that the recipe sets."""

    method: Method
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        if not self.arguments:
            return self.method.name
        inside = ", ".join(f"{name}={self.arguments[name]!r}" for name in sorted(self.arguments))
        return f"{self.method.name}({inside})"


@dataclass(frozen=True)
class Recipe:
    """Methods applied one after the other; the text of a recipe is its identity.

    Args:
        ingredients: In the order in which they are applied.
    """

    ingredients: tuple[Ingredient, ...]

    def __str__(self) -> str:
        return "+".join(map(str, self.ingredients))

    @property
    def kind(self) -> str:
        """The kind of problem that the recipe applies to."""
        return self.ingredients[0].method.kind

    @property
    def needs(self) -> frozenset[str]:
        """What a problem must offer for this recipe."""
        return frozenset().union(*(item.method.needs for item in self.ingredients))

    @property
    def space(self) -> dict[str, Space]:
        """Where to tune, by ``method.argument``; what the recipe sets itself is not tuned."""
        return {
            f"{item.method.name}.{name}": space
            for item in self.ingredients
            for name, space in item.method.space.items()
            if name not in item.arguments
        }

    @property
    def defaults(self) -> dict[str, Any]:
        """The value of each tunable hyperparameter without tuning, by ``method.argument``."""
        methods = {item.method.name: item.method for item in self.ingredients}
        return {key: methods[key.split(".")[0]].defaults[key.split(".")[1]] for key in self.space}

    def with_arguments(self, values: Mapping[str, Any]) -> "Recipe":
        """Return the recipe with some hyperparameters set, given by ``method.argument``."""
        return Recipe(
            tuple(
                Ingredient(
                    item.method,
                    {
                        **item.arguments,
                        **{
                            key.split(".")[1]: value
                            for key, value in values.items()
                            if key.split(".")[0] == item.method.name
                        },
                    },
                )
                for item in self.ingredients
            )
        )


def split_recipes(text: str) -> list[str]:
    """Split a comma-separated list of recipes, leaving commas inside brackets alone.

    Example:
        >>> split_recipes("sgd(lr=0.1, momentum=0.9),adamw+uba")
        ['sgd(lr=0.1, momentum=0.9)', 'adamw+uba']
    """
    return _split(text, ",")


def parse_calls(text: str) -> list[Call]:
    """Parse ``name(argument=literal)+name`` without evaluating anything.

    Raises:
        RecipeError: Where the text is not of that form or an argument is not a literal.

    Example:
        >>> parse_calls("adamw(lr=3e-4)+uba")
        [Call(name='adamw', arguments={'lr': 0.0003}), Call(name='uba', arguments={})]
    """
    return [_parse_call(part, text) for part in _split(text, "+")]


def parse_recipe(text: str, methods: Mapping[str, Method]) -> Recipe:
    """Parse a recipe and look its methods up.

    Args:
        text: Such as ``adamw(lr=3e-4, weight_decay=0.1)+uba(phi=5)``.
        methods: The methods there are, by name.

    Raises:
        RecipeError: For an unknown method or argument, or methods that exclude each other.
    """
    ingredients = []
    for call in parse_calls(text):
        if call.name not in methods:
            raise RecipeError(f"there is no method {call.name!r}{suggest(call.name, methods)}")
        method = methods[call.name]
        for argument in call.arguments:
            if argument not in method.defaults:
                known = ", ".join(method.defaults) or "none at all"
                raise RecipeError(
                    f"{method.name} has no argument {argument!r}"
                    f"{suggest(argument, method.defaults)}; it takes: {known}"
                )
        ingredients.append(Ingredient(method, call.arguments))
    _refuse_clashes([item.method for item in ingredients], text)
    return Recipe(tuple(ingredients))


def suggest(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'a' or 'b'?`` for the names nearest to a misspelt one."""
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


def _split(text: str, separator: str) -> list[str]:
    parts, depth, start, quote = [], 0, 0, ""
    for i, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        elif character == separator and depth == 0:
            parts.append(text[start:i])
            start = i + 1
    return [part.strip() for part in [*parts, text[start:]]]


def _parse_call(part: str, text: str) -> Call:
    match = _NAME.match(part)
    form = "write name, or name(argument=value), joined by +"
    if match is None:
        raise RecipeError(f"cannot read {part!r} in the recipe {text!r}; {form}")
    rest = part[match.end() :].strip()
    if not rest:
        return Call(match.group())
    try:
        # The name may hold hyphens, which Python's grammar does not know: parse the brackets alone.
        tree = ast.parse(f"_{rest}", mode="eval").body
    except SyntaxError:
        raise RecipeError(f"cannot read {part!r} in the recipe {text!r}; {form}") from None
    if not (isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and not tree.args):
        raise RecipeError(f"cannot read {part!r}: give arguments by name, as in name(lr=0.1)")
    arguments: dict[str, Any] = {}
    for keyword in tree.keywords:
        if keyword.arg is None:
            raise RecipeError(f"cannot read {part!r}: give arguments by name, as in name(lr=0.1)")
        try:
            arguments[keyword.arg] = ast.literal_eval(keyword.value)
        except ValueError:
            raise RecipeError(
                f"{keyword.arg}={ast.unparse(keyword.value)} in {part!r} is not a literal; "
                "write a number, a quoted string, True, False, None, or a tuple of these"
            ) from None
    return Call(match.group(), arguments)


def _refuse_clashes(methods: list[Method], text: str) -> None:
    for i, first in enumerate(methods):
        for second in methods[i + 1 :]:
            reason = first.clashes.get(second.name) or second.clashes.get(first.name)
            if first.name == second.name:
                reason = "it stands there twice"
            elif first.kind != second.kind:
                reason = f"one is for {first.kind}, the other for {second.kind}"
            elif both := first.fills & second.fills:
                reason = f"both set the {' and the '.join(sorted(both))}"
            if reason:
                raise RecipeError(
                    f"{first.name} and {second.name} cannot be combined in {text!r}: {reason}"
                )
