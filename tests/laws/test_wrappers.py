"""The laws of wrappers: those of optimizers, over several bases, and that they share with them."""

import functools
from collections.abc import Callable
from dataclasses import replace

from tests.laws import processes, test_optimizers
from tests.laws.cases import Law, Laws
from tests.laws.optimizing import make, parameters, run, subjects
from thalweg.core.example import Example

laws = Laws("wrapper", minimum=500)


def over_every_base(law: Law, applies: Callable[[Example], object] = lambda example: True) -> Law:
    """Return the law for a wrapper: it is obeyed over each base to which it applies."""

    @functools.wraps(law)
    def of_a_wrapper(example, check):
        for subject in filter(applies, subjects(example)):
            try:
                law(subject, check)
            except AssertionError as error:
                raise AssertionError(f"{subject.object.__name__}: {error}") from error

    return of_a_wrapper


for law, applies in test_optimizers.laws.all:
    adopted = laws.where(lambda example, applies=applies: any(map(applies, subjects(example))))(
        over_every_base(law, applies)
    )
    if law in processes.LAWS:
        processes.LAWS.add(adopted)


@laws
def state_and_groups_are_the_bases(example, check):
    for subject in subjects(example):
        base = subject.object.base(parameters(example), **dict(subject.object.arguments))
        keys = set(base.param_groups[0])
        wrapper = example.object(base, **example.arguments)
        check(wrapper.state is base.state, "its state is not the base's")
        check(wrapper.param_groups is base.param_groups, "its groups are not the base's")
        check(wrapper.defaults.keys() >= base.defaults.keys(), "it lacks defaults of the base")
        base.param_groups[0]["lr"] = 0.125
        check(wrapper.param_groups[0]["lr"] == 0.125, "the base's lr is not its lr")
        params = base.param_groups[0]["params"]
        run(subject, wrapper, params, 3)
        alone = make(subject_of_base(subject), others := parameters(example))
        run(subject_of_base(subject), alone, others, 3)
        added = set(wrapper.param_groups[0]) - keys
        of_base = {key for state in alone.state.values() for key in state}
        added |= {key for state in wrapper.state.values() for key in state} - of_base
        prefixes = {key.split("_")[0] for key in added}
        check(len(prefixes) <= 1, f"its keys have no prefix in common: {sorted(added)}")
        check(not any(key in of_base for key in added), "its keys overwrite the base's")


def subject_of_base(subject):
    """Return the base alone, as an example."""
    base = functools.partial(subject.object.base, **dict(subject.object.arguments))
    needs = subject.needs - {"closure"}
    return replace(subject, object=base, arguments={}, needs=needs, step=None)


test_law = laws.tests()
