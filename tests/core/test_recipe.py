import re

import pytest

from thalweg.core.errors import RecipeError
from thalweg.core.method import Choice, Interval, Method
from thalweg.core.recipe import parse_calls, parse_recipe, split_recipes


def method(name, *, fills="", defaults=None, space=None, **more):
    return Method(
        name,
        "",
        lambda **arguments: arguments,
        defaults=defaults or {},
        space=space or {},
        fills=frozenset({fills} - {""}),
        **more,
    )


METHODS = {
    item.name: item
    for item in (
        method(
            "adamw",
            fills="optimizer",
            defaults={"lr": 1e-3, "betas": (0.9, 0.999), "weight_decay": 0.01},
            space={"lr": Interval(1e-5, 1e-1, log=True), "weight_decay": Interval(0.0, 1.0)},
        ),
        method("sgd", fills="optimizer", defaults={"lr": 0.1}),
        method("one-cycle", fills="schedule", defaults={"shape": "cos"}),
        method("sinkhorn", kind="transport"),
        method("odd", clashes={"one-cycle": "it needs a constant learning rate"}),
    )
}


def test_a_recipe_is_its_methods_in_order_with_literal_arguments():
    recipe = parse_recipe("adamw(lr=3e-4, betas=(0.8, 0.9)) + one-cycle(shape='a,b+c')", METHODS)
    assert [item.method.name for item in recipe.ingredients] == ["adamw", "one-cycle"]
    assert recipe.ingredients[0].arguments == {"lr": 3e-4, "betas": (0.8, 0.9)}
    assert recipe.ingredients[1].arguments == {"shape": "a,b+c"}
    assert parse_recipe(str(recipe), METHODS) == recipe


def test_what_a_recipe_sets_is_not_tuned():
    recipe = parse_recipe("adamw(lr=3e-4)+one-cycle", METHODS)
    assert list(recipe.space) == ["adamw.weight_decay"]
    assert recipe.defaults == {"adamw.weight_decay": 0.01}
    tuned = recipe.with_arguments({"adamw.weight_decay": 0.5})
    assert str(tuned) == "adamw(lr=0.0003, weight_decay=0.5)+one-cycle"


def test_commas_inside_brackets_and_quotes_do_not_split():
    assert split_recipes("adamw(betas=(0.8, 0.9)),sgd+one-cycle(shape=',')") == [
        "adamw(betas=(0.8, 0.9))",
        "sgd+one-cycle(shape=',')",
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("adamq", "no method 'adamq'; did you mean 'adamw'"),
        ("adamw(lrr=1)", "no argument 'lrr'; did you mean 'lr'?; it takes: lr, betas"),
        ("sinkhorn(reg=1)", "it takes: none at all"),
        ("adamw(lr=open('x'))", "lr=open('x') in \"adamw(lr=open('x'))\" is not a literal"),
        ("adamw(lr=__import__('os').getcwd())", "is not a literal"),
        ("adamw(0.1)", "give arguments by name"),
        ("adamw(**{'lr': 1})", "give arguments by name"),
        ("adamw(lr=1", "cannot read"),
        ("adamw)(", "cannot read"),
        ("adamw(lr=1)(lr=2)", "cannot read"),
        ("", "cannot read"),
        ("adamw++sgd", "cannot read"),
        ("adamw+sgd", "both set the optimizer"),
        ("adamw+adamw", "stands there twice"),
        ("adamw+sinkhorn", "one is for training, the other for transport"),
        ("odd+one-cycle", "needs a constant learning rate"),
        ("one-cycle+odd", "needs a constant learning rate"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused_with_a_sentence(text, sentence):
    with pytest.raises(RecipeError, match=re.escape(sentence)):
        parse_recipe(text, METHODS)


def test_nothing_is_evaluated():
    with pytest.raises(RecipeError):
        parse_calls("adamw(lr=[x for x in (1,)])")


def test_a_default_outside_its_search_space_is_refused():
    with pytest.raises(ValueError, match="lies outside its search space"):
        method("x", defaults={"lr": 1.0}, space={"lr": Interval(0.0, 0.5)})
    with pytest.raises(ValueError, match="search space of unknown arguments"):
        method("x", space={"lr": Interval(0.0, 0.5)})
    assert None in Choice((None, "a"))
    assert "a" not in Interval(0.0, 1.0)
