"""The eight poses of a square, and convolutions whose filters are used in all of them.

Tissue has no upright side: turned or mirrored, a patch deserves the same answer. A convolution
over the group p4m applies each filter in four quarter turns and their mirror images, so that the
network knows this from the start and learns it from no example. A tensor's channel `c * 8 + pose`
is channel c as seen in a pose.

Source:
    Cohen and Welling, "Group Equivariant Convolutional Networks", ICML 2016; for PatchCamelyon,
    Veeling et al., "Rotation Equivariant CNNs for Digital Pathology", MICCAI 2018.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

POSES = 8
_TURNS = 4


def posed(filters: Tensor, pose: int) -> Tensor:
    """Turn the last two axes by `pose % 4` quarters, then mirror them in the upper four poses."""
    turned = torch.rot90(filters, pose % _TURNS, (-2, -1))
    return turned.flip(-2) if pose >= _TURNS else turned


def _composition() -> list[list[int]]:
    """`table[g][h]`: the pose that pose h followed by pose g amounts to."""
    probe = torch.arange(9.0).reshape(3, 3)
    number = {tuple(posed(probe, pose).flatten().tolist()): pose for pose in range(POSES)}
    return [
        [number[tuple(posed(posed(probe, h), g).flatten().tolist())] for h in range(POSES)]
        for g in range(POSES)
    ]


_TABLE = _composition()
_INVERSE = [row.index(0) for row in _TABLE]
#: What a filter that is seen in pose g reads, in the order of its own eight inputs.
_ORDER = [[_TABLE[_INVERSE[g]][h] for h in range(POSES)] for g in range(POSES)]


def lifted(filters: Tensor) -> Tensor:
    """From `(O, I, k, k)`, which reads a picture, to plain filters `(O * 8, I, k, k)`."""
    return torch.stack([posed(filters, g) for g in range(POSES)], 1).flatten(0, 1)


def grouped(filters: Tensor) -> Tensor:
    """From `(O, I, 8, k, k)`, which reads poses, to plain filters `(O * 8, I * 8, k, k)`.

    The spatial part turns with the pose, and so does the order of the poses that are read.
    """
    every = [posed(filters[:, :, _ORDER[g]], g) for g in range(POSES)]
    return torch.stack(every, 1).flatten(2, 3).flatten(0, 1)


class GroupConv(nn.Module):
    """A convolution over p4m and its batch normalisation, without an activation."""

    def __init__(
        self, inputs: int, outputs: int, side: int, *, lifts: bool = False, stride: int = 1
    ) -> None:
        """Make the filters.

        Args:
            inputs: channels read; each in eight poses unless `lifts`.
            outputs: channels made, each in eight poses.
            side: of a filter, in pixels.
            lifts: whether it reads a picture.
            stride: 1, or 2 with a filter of even side, which keeps the poses exact.
        """
        super().__init__()
        shape = (outputs, inputs, side, side) if lifts else (outputs, inputs, POSES, side, side)
        self.filters = nn.Parameter(torch.randn(shape) * (2.0 / filters_fan(shape)) ** 0.5)
        self.lifts = lifts
        self.stride = stride
        self.padding = (side - stride) // 2 if stride > 1 else 0
        self.gain = nn.Parameter(torch.ones(outputs))
        self.offset = nn.Parameter(torch.zeros(outputs))
        self.register_buffer("mean", torch.zeros(outputs * POSES))
        self.register_buffer("variance", torch.ones(outputs * POSES))

    def plain_filters(self) -> Tensor:
        """The filters as an ordinary convolution has them."""
        return lifted(self.filters) if self.lifts else grouped(self.filters)

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and variance of a channel over its poses, repeated for each pose."""
        return tuple(  # type: ignore[return-value]  # two of them
            part.view(-1, POSES).mean(1).repeat_interleave(POSES)
            for part in (self.mean, self.variance)
        )

    def forward(self, x: Tensor, padding: int | None = None) -> Tensor:
        """Convolve and normalise; while training, by the statistics of the batch."""
        filters = self.plain_filters().contiguous(memory_format=torch.channels_last)
        pad = self.padding if padding is None else padding
        y = functional.conv2d(x, filters, stride=self.stride, padding=pad)
        mean, variance = (self.mean, self.variance) if self.training else self.statistics()
        gain, offset = self.gain.repeat_interleave(POSES), self.offset.repeat_interleave(POSES)
        return functional.batch_norm(y, mean, variance, gain, offset, self.training, MOMENTUM, EPS)

    def folded(self) -> tuple[Tensor, Tensor]:
        """Plain filters and biases with the normalisation in them."""
        mean, variance = self.statistics()
        scale = self.gain.repeat_interleave(POSES) * torch.rsqrt(variance + EPS)
        bias = self.offset.repeat_interleave(POSES) - mean * scale
        return self.plain_filters() * scale[:, None, None, None], bias


MOMENTUM = 0.1
EPS = 1e-5


def filters_fan(shape: tuple[int, ...]) -> int:
    """How many inputs one output of filters of this shape sums over."""
    fan = 1
    for size in shape[1:]:
        fan *= size
    return fan
