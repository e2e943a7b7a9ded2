"""The framework of the laws: cases out of the catalogue, laws as functions, checks that count.

A file of laws reads::

    laws = Laws("schedule", minimum=30)

    @laws
    def rates_are_finite(example, check):
        check(..., "sentence that says what is wrong")

    test_law = laws.tests()

A law is a plain function of an :class:`~thalweg.core.example.Example` and a :class:`Checks`; it
raises for an object that breaks it. It is tried on every example of its interface, and in
`test_faults.py` on objects that are broken on purpose.
"""

import importlib
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from tests.laws.counting import NAME, Made
from thalweg.core.catalogue import catalogue
from thalweg.core.example import Example

_UNCHECKED = {
    "hyperparameters_out_of_range_are_refused": "torch names no argument, and lets nan pass",
    "a_bad_group_is_refused": "torch checks the values of the constructor alone",
}
_COUNTS = {"steps_are_counted_without_end": "torch counts in float32, up to 2^24"}
_FORGETS = "torch loads the product of the momenta in another dtype than it was saved in"

# Baselines that show the laws to be fair: not counted, and what torch does not keep is said here.
CONTROLS: dict[str, dict[str, str]] = {
    "sgd": _UNCHECKED,
    "adam": _UNCHECKED | _COUNTS,
    "adamw": _UNCHECKED | _COUNTS,
    "nadam": {
        **_UNCHECKED,
        **_COUNTS,
        "a_resumed_run_goes_on_to_the_same_bits": _FORGETS,
        "a_fresh_process_goes_on_to_the_same_bits": _FORGETS,
        "groups_rule_after_loading": _FORGETS,
    },
    "rmsprop": {**_UNCHECKED, **_COUNTS, "state_is_live:step": "the update has no use for it"},
    "adagrad": {**_UNCHECKED, **_COUNTS, "state_is_live:step": "only lr_decay makes use of it"},
    "cosine": {
        "after_the_budget_the_rate_stays": "torch's cosine rises again",
        "arguments_out_of_range_are_refused": "torch divides by what it is given",
    },
    "linear": {"arguments_out_of_range_are_refused": "torch does not look at all it is given"},
}


@dataclass(frozen=True)
class Case:
    """An example and whose it is.

    Args:
        owner: The paper's id; for a baseline its name, in brackets.
        example: As in the catalogue.
        index: Of the example among those of its owner and interface.
    """

    owner: str
    example: Example
    index: int = 0

    @property
    def counted(self) -> bool:
        """Whether it is a paper's, and must reach the minimum of checks."""
        return not self.owner.startswith("[")

    def __str__(self) -> str:
        number = f"-{self.index}" if self.index else ""
        return f"{self.owner}-{self.example.object.__name__}{number}"


@cache
def cases(interface: str) -> tuple[Case, ...]:
    """Return the cases of an interface: every paper's, then torch's own through the baselines."""
    known = catalogue()
    of_papers = [(paper.id, paper.all_examples) for paper in known.papers.values()]
    of_torch = [
        (f"[{name}]", (replace(example, arguments=known.methods[name].defaults, exceptions=why),))
        for name, why in CONTROLS.items()
        if (example := known.methods[name].example) is not None
    ]
    return tuple(
        Case(owner, example, index)
        for owner, examples in (*of_papers, *of_torch)
        for index, example in enumerate(x for x in examples if x.interface == interface)
    )


class Checks:
    """Counts the single checks of a law; each raises ``AssertionError`` with its sentence.

    Args:
        example: Whose exceptions :meth:`part` honours.
    """

    def __init__(self, example: Example) -> None:
        self.exceptions = example.exceptions
        self.count = 0
        self.claimed: set[str] = set()

    def __call__(self, holds: object, sentence: str) -> None:
        """Check that something holds."""
        self.count += 1
        assert holds, sentence

    def equal(self, ours: Any, expected: Any, sentence: str) -> None:
        """Check that tensors, or nests of them and of plain values, are equal to the last bit."""
        self.close(ours, expected, sentence, rtol=0, atol=0)

    def close(
        self, ours: Any, expected: Any, sentence: str, *, rtol: float = 0.0, atol: float = 0.0
    ) -> None:
        """Check that tensors, or nests of them, agree within a tolerance; NaN equals NaN."""
        self.count += 1
        try:
            torch.testing.assert_close(ours, expected, rtol=rtol, atol=atol, equal_nan=True)
        except (AssertionError, TypeError) as error:
            raise AssertionError(f"{sentence}: {error}") from None

    def differ(self, ours: torch.Tensor, other: torch.Tensor, sentence: str) -> None:
        """Check that two tensors are not equal."""
        self(not torch.equal(ours, other), sentence)

    def refuses(
        self,
        errors: type[Exception] | tuple[type[Exception], ...],
        call: Callable[[], object],
        what: str,
        *,
        names: str = "",
    ) -> None:
        """Check that a call raises an error of the kind, whose message is a sentence.

        Args:
            errors: The kind.
            call: Makes the mistake.
            what: The mistake, for the message.
            names: What the message must contain.
        """
        self.count += 1
        try:
            call()
        except errors as error:
            message = str(error)
            assert names in message, f"{what}: the refusal {message!r} does not say {names!r}"
            assert len(message.split()) > 3, f"{what}: the refusal {message!r} is no sentence"
        except Exception as error:
            raise AssertionError(f"{what}: {type(error).__name__} instead: {error}") from error
        else:
            raise AssertionError(f"{what} is accepted in silence")

    @contextmanager
    def drawing_nothing(self) -> Iterator[None]:
        """Check that what is done here leaves the global generators as they are."""
        before = _generators()
        yield
        for whose, now in _generators().items():
            self(now == before[whose], f"it draws from the global generator of {whose}")

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Check a part of a law, which an exception of this name excuses.

        Args:
            name: A knob; or the law and the part, as in ``state_is_live:step``.
        """
        self.claimed.add(name)
        if name not in self.exceptions:
            yield
            return
        try:
            yield
        except Exception:
            self.count += 1
        else:
            raise AssertionError(f"{name} holds after all: remove its exception")


def _generators() -> dict[str, Any]:
    """Return the state of the global generators, as values that can be compared."""
    numpys = np.random.get_state()  # noqa: NPY002
    return {
        "torch": torch.get_rng_state().tolist(),
        "Python": random.getstate(),
        "numpy": [x.tolist() if isinstance(x, np.ndarray) else x for x in numpys],
    }


Law = Callable[[Example, Checks], None]


def obey(law: Law, example: Example) -> int:
    """Try a law on an example and return how many checks it made.

    An exception is strict: a law that holds although an exception excuses it fails.

    Raises:
        AssertionError: If the law is broken, makes no check, or needs no exception.
    """
    check = Checks(example)
    if law.__name__ in example.exceptions:
        try:
            law(example, check)
        except Exception:
            return 1
        raise AssertionError(f"{law.__name__} holds after all: remove its exception")
    law(example, check)
    assert check.count, f"{law.__name__} made no check"
    excused = {name for name in example.exceptions if name.startswith(f"{law.__name__}:")}
    assert excused <= check.claimed, f"exceptions for nothing: {sorted(excused - check.claimed)}"
    return check.count


class Laws:
    """The laws of one interface.

    Args:
        interface: As in :class:`~thalweg.core.example.Example`.
        minimum: Checks that every example of a paper must undergo in all.
    """

    _known: ClassVar[dict[str, "Laws"]] = {}

    def __init__(self, interface: str, minimum: int) -> None:
        self.interface = interface
        self.minimum = minimum
        self._known[interface] = self
        self.all: list[tuple[Law, Callable[[Example], object]]] = []

    @classmethod
    def of_interface(cls, interface: str) -> "Laws":
        """Return the laws that a file here states for an interface."""
        plural = interface + ("es" if interface.endswith("s") else "s")
        importlib.import_module(f"tests.laws.test_{plural}")
        return cls._known[interface]

    def __call__(self, law: Law) -> Law:
        """Add a law for every example."""
        return self.where(lambda example: True)(law)

    def where(self, applies: Callable[[Example], object]) -> Callable[[Law], Law]:
        """Add a law for the examples to which it applies by their signature or their needs."""

        def add(law: Law) -> Law:
            self.all.append((law, applies))
            return law

        return add

    def of(self, example: Example) -> list[Law]:
        """Return the laws that apply to an example."""
        return [law for law, applies in self.all if applies(example)]

    def tests(self) -> Callable[..., None]:
        """Return a test of every law on every case; call this after the last law."""
        params = [
            pytest.param(case, law, id=f"{case}-{law.__name__}")
            for case in cases(self.interface)
            for law in self.of(case.example)
        ]
        expected: dict[str, int] = {}
        for param in params:
            owner = param.values[0].owner
            expected[owner] = expected.get(owner, 0) + 1

        @pytest.mark.parametrize(("case", "law"), params)
        def test_law(case: Case, law: Law, record_property: Callable[..., None]) -> None:
            count = 0
            try:
                count = obey(law, case.example)
            finally:  # a skipped test is recorded with no check made
                if case.counted:
                    owners = [x for x in cases(self.interface) if x.owner == case.owner]
                    due = self.minimum * len(owners)
                    made = Made(
                        case.owner,
                        self.interface,
                        law.__name__,
                        count,
                        due,
                        expected[case.owner],
                    )
                    record_property(NAME, asdict(made))

        return test_law


@dataclass(frozen=True)
class Fault:
    """An object broken on purpose.

    Args:
        name: What is wrong with it, in kebab-case.
        example: Of the broken object.
        law: The law that must catch it.
        says: What the law must say, as a regular expression.
    """

    name: str
    example: Example
    law: Law
    says: str
