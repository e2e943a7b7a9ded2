"""Losses with a memory: two processes end where one does, and each holds what one would."""

import multiprocessing

import torch
from torch import distributed, nn
from torch.utils.data import DistributedSampler

from thalweg.losses import ALDRKL, MECO, MESA, SAF

N, C, EPOCHS = 9, 3, 3  # of an odd number of samples the sampler gives one to both
GENERATOR = torch.Generator().manual_seed(0)
SCORES = torch.randn(EPOCHS, N, C, generator=GENERATOR, dtype=torch.float64)
INPUTS = torch.randn(N, 4, generator=GENERATOR, dtype=torch.float64)
TARGET = torch.arange(N) % C


def aldr_kl(model):
    loss = ALDRKL(N, lam0=1.0).double()
    return loss, lambda net, at: loss(net(INPUTS[at]), TARGET[at], at)


def saf(model):
    loss = SAF(N, C, lag=1, start=0, lam=1.0).double()
    return loss, lambda net, at: loss(net(INPUTS[at]), TARGET[at], at)


def meco(model):
    loss = MECO().double()

    def of(net, at):  # the noise is drawn from N(0, 4)
        logs = net(torch.cat([INPUTS[at], 2 * SCORES[0, at, :1] + INPUTS[at].roll(1, 1)]))
        return loss(*logs[:, 0].chunk(2), -SCORES[0, at, 0].square() / 2)

    return loss, of


def mesa(model):
    loss = MESA(model, start=-1, decay=0.5)

    def of(net, at):
        loss.update(net)
        return loss(net(INPUTS[at]), TARGET[at], INPUTS[at])

    return loss, of


def trained(build, ranks, wrap=lambda model: model):
    """Train on the batches of these ranks; return the weights and what a checkpoint holds."""
    torch.manual_seed(0)
    model = nn.Linear(4, C).double()
    (loss, of), net = build(model), wrap(model)
    samplers = [DistributedSampler(range(N), 2, rank, seed=1) for rank in ranks]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
    for epoch in range(EPOCHS):
        for sampler in samplers:
            sampler.set_epoch(epoch)
        if hasattr(loss, "set_epoch"):
            loss.set_epoch(epoch)
        orders = torch.tensor([[*sampler] for sampler in samplers])
        for batch in orders.split(2, 1):  # the last is smaller
            optimizer.zero_grad()
            of(net, batch.flatten()).backward()
            optimizer.step()
    return [*model.parameters()], loss.state_dict()


def unequal_batches():
    """Visit samples in batches of which one process may have none, and evaluate in one alone."""
    rank, loss = distributed.get_rank(), ALDRKL(N).double()
    for number in range(EPOCHS):
        for split in ((slice(0, 4), slice(4, 7)), (slice(7, 9), slice(0, 0))):
            visit(loss, number, split[rank])
    loss.eval()
    if rank == 0:  # nothing is exchanged, so that no other process is waited for
        visit(loss, 0, slice(0, 3))
    return loss.temperature


def visit(loss, number, part):
    return loss(SCORES[number, part], TARGET[part], torch.arange(N)[part])


def in_process(rank, folder):
    torch.set_num_threads(1)
    where = f"file://{folder}/meeting"
    distributed.init_process_group("gloo", init_method=where, rank=rank, world_size=2)
    ends = [
        trained(build, [rank], nn.parallel.DistributedDataParallel)
        for build in (aldr_kl, saf, meco, mesa)
    ]
    torch.save((ends, unequal_batches()), folder / f"{rank}")
    distributed.destroy_process_group()


def test_two_processes_end_where_one_does(tmp_path):
    context = multiprocessing.get_context("spawn")
    pair = [context.Process(target=in_process, args=(rank, tmp_path)) for rank in (0, 1)]
    for process in pair:
        process.start()
    for process in pair:
        process.join(300)
        assert process.exitcode == 0
    results = [torch.load(tmp_path / f"{rank}") for rank in (0, 1)]
    for number, build in enumerate((aldr_kl, saf, meco, mesa)):
        weights, state = trained(build, [0, 1])
        for ends, _ in results:
            theirs, its = ends[number]
            torch.testing.assert_close(theirs, weights, rtol=1e-9, atol=1e-12, msg=build.__name__)
            assert its.keys() == state.keys()
            for name, value in state.items():
                torch.testing.assert_close(its[name], value, rtol=1e-6, atol=1e-9, msg=name)
    loss = ALDRKL(N).double()
    for number in range(EPOCHS):
        visit(loss, number, slice(0, N))
    assert loss.temperature.unique().numel() == N
    for _, temperature in results:
        assert torch.equal(temperature, loss.temperature)
