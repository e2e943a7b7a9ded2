"""EGGROLL beyond the laws: which models it evaluates, what it refuses."""

import pytest
import torch
from torch import nn

from thalweg.optim import EGGROLL


def evolving(model, **settings):
    return EGGROLL(torch.optim.SGD(model.parameters(), lr=1.0), population=4, seed=0, **settings)


class Attending(nn.Module):
    """Attention, whose layers take weights out of others without calling them; a tied weight."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(6, 4)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.head = nn.Linear(4, 6, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens):
        x = self.embedding(tokens)
        return self.head(self.attention(x, x, x, need_weights=False)[0])


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_each_member_is_the_model_with_its_own_weights():
    torch.manual_seed(0)
    model, tokens = Attending(), torch.randint(6, (2, 3))
    members = evolving(model, sigma=0.3).ask()
    outputs = members(model, tokens)
    own = {name: members._perturbed(p) for name, p in model.named_parameters()}
    for i in range(4):
        weights = {name: values[i] for name, values in own.items()}
        expected = torch.func.functional_call(model, weights, (tokens,))
        torch.testing.assert_close(outputs[i], expected, rtol=1e-4, atol=1e-5)
    keywords = members(model, (), {"tokens": tokens})
    torch.testing.assert_close(keywords, outputs)


def test_members_may_have_inputs_of_their_own():
    model, states = nn.Linear(3, 2), torch.randn(4, 5, 3)
    members = evolving(model).ask()
    together = members(model, states, own=True)
    for i in range(4):
        torch.testing.assert_close(together[i], members(model, states[i])[i])


def test_a_generation_can_be_asked_for_again():
    model, x = nn.Linear(3, 2), torch.randn(5, 3)
    optimizer = evolving(model)
    first = optimizer.ask()(model, x)
    torch.testing.assert_close(optimizer.ask()(model, x), first, rtol=0, atol=0)
    optimizer.tell(first.mean((1, 2)))
    assert not torch.equal(optimizer.ask()(model, x), first)


def test_what_it_refuses():
    model = nn.Linear(3, 2)
    optimizer = evolving(model)
    with pytest.raises(RuntimeError, match="call ask"):
        optimizer.tell(torch.zeros(4))
    members = optimizer.ask()
    with pytest.raises(ValueError, match="holds no parameter"):
        members(nn.Linear(3, 2), torch.zeros(1, 3))
    with pytest.raises(ValueError, match=r"shape \(4,\)"):
        optimizer.tell(torch.zeros(3))
    for wrong in ({"population": 3}, {"rank": 0}, {"rank": 1.5}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            EGGROLL(torch.optim.SGD(model.parameters()), **{"population": 4, **wrong})
