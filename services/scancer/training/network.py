"""The network: nine convolutions over p4m, pooled twice, and one linear head.

No convolution but the last pads, so that features shrink towards the middle of the patch, which
alone decides the label. The head sees the mean over all cells and the middle cell.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from services.scancer.training.group import POSES, GroupConv

#: Rows and columns of the last features.
CELLS = 3


@dataclass(frozen=True, slots=True)
class Shape:
    """How wide and deep the network is; channels count once for their eight poses."""

    widths: tuple[int, int, int] = (5, 14, 24)
    extra: int = 1
    dropout: float = 0.2


@dataclass(frozen=True, slots=True)
class Answers:
    """What the network says of N crops; only the logits matter once it is trained.

    Attributes:
        logits: `(N,)`.
        hints: `(N, H)`, guesses at the teacher's averages.
        local: `(N, L * 8, 14, 14)`, guesses at a layer of the teacher, cell by cell.
    """

    logits: Tensor
    hints: Tensor
    local: Tensor


class PatchNetwork(nn.Module):
    """From the middle 80 x 80 px of a patch to one logit (and, in training, to hints)."""

    def __init__(self, shape: Shape, hints: int, local_hints: int) -> None:
        super().__init__()
        fine, middle, coarse = shape.widths
        self.stem = GroupConv(3, fine, 4, lifts=True, stride=2)
        self.stages = nn.ModuleList(
            nn.ModuleList([GroupConv(before, after, 3), GroupConv(after, after, 3)])
            for before, after in ((fine, fine), (fine, middle), (middle, coarse))
        )
        self.last = nn.ModuleList(GroupConv(coarse, coarse, 3) for _ in range(shape.extra))
        self.dropout = nn.Dropout(shape.dropout)
        self.head = nn.Linear(2 * coarse, 1)
        self.hints = nn.Linear(2 * coarse, hints)
        self.local_hints = GroupConv(middle, local_hints, 1)

    def stage(self, number: int, x: Tensor) -> Tensor:
        """Run one stage; all but the first halve the resolution first."""
        first, second = self.stages[number]
        if number:
            x = functional.avg_pool2d(x, 2)
        x = functional.relu(first(x))
        return functional.relu(second(x) + x[:, :, 1:-1, 1:-1])

    def forward(self, crop: Tensor) -> Answers:
        """Map `(N, 3, 80, 80)` to the logits and, on the way, to guesses at the teacher."""
        middle = self.stage(1, self.stage(0, functional.relu(self.stem(crop))))
        x = self.stage(2, middle)
        for conv in self.last:
            x = functional.relu(conv(x, padding=1) + x)
        x = x.float()
        centre = CELLS // 2
        parts = (x.mean((2, 3)), x[:, :, centre, centre])
        pooled = torch.cat([part.view(len(x), -1, POSES).mean(2) for part in parts], 1)
        logits = self.head(self.dropout(pooled))[:, 0]
        return Answers(logits, self.hints(pooled), self.local_hints(middle))

    def convolutions(self) -> Sequence[GroupConv]:
        """Those that answers need, in the order in which they run."""
        inner = [conv for stage in self.stages for conv in stage]
        return [self.stem, *inner, *self.last]


@torch.inference_mode()
def predict_logits(network: PatchNetwork, crops: Tensor, batch: int = 100) -> Tensor:
    """The logit of each crop, `(N,)`."""
    network.eval()
    parts = [
        network(crops[i : i + batch].contiguous(memory_format=torch.channels_last)).logits
        for i in range(0, len(crops), batch)
    ]
    return torch.cat(parts)
