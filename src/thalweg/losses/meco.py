"""MECO: the likelihood of a density that is known up to a factor, tracked by a moving average."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from thalweg.losses._processes import of_all_processes


class MECO(nn.Module):
    """Negative log-likelihood of an unnormalised model, its partition function followed by noise.

        g = mean of p(y) / q(y) over noise y drawn from q            a sample of the partition
        u = (1 - gamma) * u + gamma * g                              u = g at the first batch
        gradient = -mean of grad log p(x) over data x + grad g / u

    The value is -mean log p(x) + log u, in nats. In evaluation mode nothing is tracked and g takes
    the place of u: on many samples of noise it is the likelihood itself.

    Use it to train an energy-based model, `log p = -energy`, where noise-contrastive estimation
    crawls because it tells data from noise too easily; it learns no normaliser beside the model.
    Optimizers with momentum are meant. Avoid it where no noise covers data and model: once
    `effective_share` is near one over the batch, a single sample of noise moves everything and
    noise-contrastive estimation is the safer choice. Cost: the model on as many samples of noise as
    of data, and a number of state; in distributed training all processes track u together, and
    exchange p / q of their noise, of which each should draw its own.

    Args:
        gamma: Share of the newest batch in the average, in (0, 1]; 1 is self-normalised importance
            sampling, biased on small batches. The smaller, the smaller the steps of the model must
            be for u to keep up.

    Attributes:
        log_partition: log u; minus infinity before the first batch, kept in the state_dict.
        effective_share: Of the newest batch in training, the effective sample size of the noise
            over its number: (sum r)^2 / (n sum r^2), r = p / q.

    Returns:
        From ``loss(log_p_data, log_p_noise, log_q_noise)``: a number, of the model's unnormalised
        log-densities of the data, any shape, and of the noise, and the noise's own log-densities.

    Raises:
        ValueError: If `gamma` is outside its range or shapes do not fit.

    Example:
        >>> import torch
        >>> from torch.distributions import Normal
        >>> from thalweg.losses import MECO
        >>> theta, loss = torch.tensor(0.0, requires_grad=True), MECO(gamma=0.1)
        >>> log_p = lambda x: -0.5 * (x - theta) ** 2
        >>> optimizer = torch.optim.SGD([theta], lr=0.1, momentum=0.9)
        >>> noise, _ = Normal(0.0, 4.0), torch.manual_seed(0)
        >>> for _ in range(200):
        ...     x, y = 5 + torch.randn(256), noise.sample((256,))
        ...     optimizer.zero_grad()
        ...     loss(log_p(x), log_p(y), noise.log_prob(y)).backward()
        ...     optimizer.step()
        >>> abs(theta.item() - 5) < 0.5, abs(loss.log_partition.exp().item() - 2.51) < 0.5
        (True, True)

    Paper: Learning Unnormalized Statistical Models via Compositional Optimization, 2023, arXiv
        2306.07485. Differs: the average is kept as a logarithm and begins at the first batch; the
        momentum of the gradient is left to the optimizer, which may be another than the paper's.
    """

    log_partition: Tensor
    effective_share: Tensor

    def __init__(self, gamma: float = 0.1) -> None:
        super().__init__()
        if not 0 < gamma <= 1:
            raise ValueError(f"gamma is {gamma}; the share of the newest batch must be in (0, 1]")
        self.gamma = gamma
        self.register_buffer("log_partition", torch.tensor(-math.inf))
        self.register_buffer("effective_share", torch.tensor(math.nan), persistent=False)

    def forward(self, log_p_data: Tensor, log_p_noise: Tensor, log_q_noise: Tensor) -> Tensor:
        """Return the negative log-likelihood, whose gradient is that of the paper."""
        if log_p_noise.shape != log_q_noise.shape or not log_p_noise.numel() * log_p_data.numel():
            raise ValueError(
                f"log_p_noise has shape {tuple(log_p_noise.shape)}, log_q_noise "
                f"{tuple(log_q_noise.shape)} and log_p_data {tuple(log_p_data.shape)}; give a "
                "number for each sample, two for each of the noise"
            )
        dtype = log_p_data.dtype
        if dtype in (torch.bfloat16, torch.float16):
            log_p_data, log_p_noise = log_p_data.float(), log_p_noise.float()
        log_r = (log_p_noise - log_q_noise).flatten()
        log_g = _log_mean(log_r)
        if not self.training:
            return (log_g - log_p_data.mean()).to(dtype)
        log_u = self._track(*of_all_processes(log_r.detach()))
        ratio = (log_g - log_u).exp()  # at most the number of processes / gamma
        return (log_u + (ratio - ratio.detach()) - log_p_data.mean()).to(dtype)

    def _track(self, log_r: Tensor) -> Tensor:
        """Return log u with the newest batch in it."""
        log_g = _log_mean(log_r)
        before = self.log_partition.to(log_g.dtype)
        kept = before + (math.log1p(-self.gamma) if self.gamma < 1 else -math.inf)
        log_u = torch.logaddexp(kept, log_g + math.log(self.gamma))
        log_u = log_u.where(before > -math.inf, log_g)
        self.log_partition.copy_(log_u)
        self.effective_share.copy_((2 * log_g - (2 * log_r).logsumexp(0)).exp() * len(log_r))
        return log_u

    def extra_repr(self) -> str:
        """Return the settings for printing."""
        return f"gamma={self.gamma}"


def _log_mean(log_r: Tensor) -> Tensor:
    return log_r.logsumexp(0) - math.log(len(log_r))
