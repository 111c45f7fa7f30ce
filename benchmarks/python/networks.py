"""The networks of the benchmarks, each with one batch: a multilayer perceptron, a residual CNN, a GPT."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Batch = tuple[Tensor, Tensor]


class Residual(nn.Module):
    def __init__(self, width: int, out: int, stride: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(out),
            nn.ReLU(),
            nn.Conv2d(out, out, 3, padding=1, bias=False),
            nn.BatchNorm2d(out),
        )
        self.skip = nn.Identity() if width == out and stride == 1 else nn.Conv2d(width, out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.skip(x))


class Block(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        b, t, c = x.shape
        q, k, v = (
            part.view(b, t, self.heads, -1).transpose(1, 2)
            for part in self.qkv(self.norm1(x)).split(c, dim=2)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(b, t, c))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Gpt(nn.Module):
    """Causal language model with tied embeddings; its logits are [tokens, vocabulary].

    Embeddings start as those of GPT-2 do. Those of ``nn.Embedding``, of variance 1, make logits so large that
    most probabilities are denormal numbers, on which matrix products take five times as long.
    """

    def __init__(self, vocabulary: int = 512, width: int = 128, layers: int = 4, length: int = 64):
        super().__init__()
        self.token, self.place = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.blocks = nn.Sequential(*(Block(width, 4) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)
        for table in (self.token, self.place):
            nn.init.normal_(table.weight, std=0.02)
        self.head.weight = self.token.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.token(tokens) + self.place(torch.arange(tokens.shape[1]))
        return self.head(self.norm(self.blocks(x))).flatten(0, 1)


def perceptron(*widths: int, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width, out in pairwise(widths):
        layers += [nn.Linear(width, out), activation()]
    return nn.Sequential(*layers[:-1])


def problem(case: str) -> tuple[nn.Module, Batch]:
    """Return a seeded model in evaluation mode and one batch of inputs and classes for cross entropy."""
    torch.manual_seed(0)
    if case == "small":  # overhead dominates
        model = perceptron(64, 64, 64, 64, 10, activation=nn.Tanh)
        batch = torch.randn(64, 64), torch.randint(10, (64,))
    elif case == "mlp":
        model = perceptron(784, 512, 512, 10)
        batch = torch.randn(512, 784), torch.randint(10, (512,))
    elif case == "wide":  # 5.8 M parameters, few rows
        model = perceptron(784, 2048, 2048, 10)
        batch = torch.randn(64, 784), torch.randint(10, (64,))
    elif case == "cnn":
        model = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            Residual(32, 32, 1),
            Residual(32, 64, 2),
            Residual(64, 176, 2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(176, 10),
        )
        batch = torch.randn(32, 3, 32, 32), torch.randint(10, (32,))
    elif case == "gpt":
        model, tokens = Gpt(), torch.randint(512, (8, 65))
        batch = tokens[:, :-1].contiguous(), tokens[:, 1:].flatten()
    else:
        msg = f"problem: case must be small, mlp, wide, cnn or gpt, got {case!r}"
        raise ValueError(msg)
    return model.eval(), batch


def split(batch: Batch, parts: int) -> list[Batch]:
    """Cut a batch into equal small ones."""
    return list(zip(*(t.chunk(parts) for t in batch), strict=True))
