"""Measuring the memory of a function on the CPU: every allocation of torch; and networks to measure."""

from __future__ import annotations

import gc

import torch
import torch.nn.functional as F
from torch import nn

import hesscope as hs
from jets_cases import vectors


def peak_bytes(function):
    """Return the most bytes that torch has allocated at once while ``function`` runs, beyond those before.

    Its result counts.
    """
    gc.collect()
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        function()
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


class Block(nn.Module):
    """A decoder block with causal attention."""

    def __init__(self, width, heads=4):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        b, t, c = x.shape
        parts = self.qkv(self.norm1(x)).split(c, dim=2)
        q, k, v = (part.view(b, t, self.heads, -1).transpose(1, 2) for part in parts)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(b, t, c))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Gpt(nn.Module):
    def __init__(self, vocabulary=64, width=32):
        super().__init__()
        self.token = nn.Embedding(vocabulary, width)
        self.blocks = nn.Sequential(Block(width), Block(width))
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.token.weight

    def forward(self, tokens):
        return self.head(self.blocks(self.token(tokens))).transpose(1, 2)


def perceptron():
    layers = [nn.Linear(40, 64), nn.ReLU(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 10)]
    return nn.Sequential(*layers), torch.randn(256, 40), torch.randint(0, 10, (256,))


def convolutional(rows=16):
    def block(width, out):
        return [nn.Conv2d(width, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]

    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)]
    model = nn.Sequential(*block(3, 8), *block(8, 16), nn.MaxPool2d(2), *block(16, 16), *head)
    return model, torch.randn(rows, 3, 16, 16), torch.randint(0, 10, (rows,))


def transformer():
    return Gpt(), torch.randint(0, 64, (8, 32)), torch.randint(0, 64, (8, 32))


CASES = {"perceptron": perceptron, "convolutional": convolutional, "transformer": transformer}


def problem(name, *, known=True, mode="keep"):
    torch.manual_seed(0)
    model, x, y = CASES[name]()
    if known:
        return hs.Objective(model, F.cross_entropy, (x, y), mode=mode)
    return hs.Objective(model, lambda m, b: F.cross_entropy(m(b[0]), b[1]), (x, y), mode=mode)


def rows(num_vectors, n):
    return vectors(num_vectors, n, dtype=torch.float32).contiguous()
