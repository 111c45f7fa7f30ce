"""Networks written out: perceptron, ResNet-18, a CNN with group norm, an autoencoder, a PINN."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from jets_models.claims import Case


def classify(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1])


def images(rows, channels, size, classes):
    return torch.randn(rows, channels, size, size), torch.randint(0, classes, (rows,))


def perceptron():
    torch.manual_seed(0)
    layers = [layer for _ in range(3) for layer in (nn.Linear(12, 12), nn.GELU())]
    model = nn.Sequential(*layers, nn.Linear(12, 5))
    return Case(model, classify, (torch.randn(16, 12), torch.randint(0, 5, (16,))))


class BasicBlock(nn.Module):
    """He et al. (2016), figure 2: two 3x3 convolutions and a shortcut."""

    def __init__(self, inputs, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or inputs != width:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += shortcut
        return self.relu(out)


class ResNet18(nn.Module):
    """He et al. (2016), table 1; ``width`` is 64 there."""

    def __init__(self, width, classes):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 7, 2, padding=3, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, padding=1),
        )
        stages, inputs = [], width
        for stage in range(4):
            out = width * 2**stage
            stages += [BasicBlock(inputs, out, 1 if stage == 0 else 2), BasicBlock(out, out, 1)]
            inputs = out
        self.stages = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x):
        return self.fc(torch.flatten(self.pool(self.stages(self.stem(x))), 1))


def resnet18(mode):
    torch.manual_seed(0)
    model = ResNet18(4, 5)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):  # statistics that are not those of a new layer
            nn.init.uniform_(norm.running_var, 0.5, 1.5)
            nn.init.normal_(norm.running_mean, std=0.1)
    return Case(model, classify, images(6, 3, 64, 5), {"mode": mode})


def group_norm_cnn():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.GroupNorm(2, 8),
        nn.SiLU(),
        nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=4),
        nn.GroupNorm(4, 8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 12, 3, dilation=2, padding=2),
        nn.GroupNorm(1, 12),
        nn.GELU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(48, 5),
    )
    return Case(model, classify, images(5, 3, 16, 5))


class Autoencoder(nn.Module):
    """Kingma & Welling (2014), Gaussian code, Bernoulli pixels."""

    def __init__(self):
        super().__init__()
        self.encode = nn.Sequential(nn.Linear(16, 12), nn.Softplus(), nn.Linear(12, 6))
        self.decode = nn.Sequential(nn.Linear(3, 12), nn.Softplus(), nn.Linear(12, 16))

    def forward(self, x, noise):
        mean, log_variance = self.encode(x).chunk(2, dim=1)
        noise = torch.randn_like(mean) if noise is None else noise
        return self.decode(mean + (0.5 * log_variance).exp() * noise), mean, log_variance


def evidence_bound(model, batch):
    x, noise = batch
    rebuilt, mean, log_variance = model(x, noise)
    kl = 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).sum()
    return (F.binary_cross_entropy_with_logits(rebuilt, x, reduction="sum") + kl) / len(x)


def autoencoder(noise):
    torch.manual_seed(0)
    model, x = Autoencoder(), torch.rand(7, 16)
    if noise == "seed":
        return Case(model, evidence_bound, (x, None), {"rng_seed": 3})
    return Case(model, evidence_bound, (x, torch.randn(7, 3)))


VISCOSITY = 0.01 / torch.pi


def by_autograd(model, points):
    """Return u, u_t, u_x and u_xx at (t, x)."""
    z = points.detach().requires_grad_()
    u = model(z)
    (first,) = torch.autograd.grad(u.sum(), z, create_graph=True)
    (second,) = torch.autograd.grad(first[:, 1].sum(), z, create_graph=True)
    return u[:, 0], first[:, 0], first[:, 1], second[:, 1]


def by_transforms(model, points):
    """The same with ``torch.func``."""

    def u(z):
        return model(z)[0]

    first = torch.func.vmap(torch.func.grad(u))(points)
    second = torch.func.vmap(torch.func.hessian(u))(points)
    return model(points)[:, 0], first[:, 0], first[:, 1], second[:, 1, 1]


def burgers(derivatives):
    """Raissi, Perdikaris & Karniadakis (2019): u_t + u u_x = nu u_xx, u(0, x) = -sin(pi x), u(t, +-1) = 0."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(2, 10),
        nn.Tanh(),
        nn.Linear(10, 10),
        nn.Tanh(),
        nn.Linear(10, 10),
        nn.Tanh(),
        nn.Linear(10, 1),
    )
    inner = torch.rand(20, 2) * torch.tensor([1.0, 2.0]) - torch.tensor([0.0, 1.0])
    start = torch.cat([torch.zeros(8, 1), torch.linspace(-1, 1, 8)[:, None]], 1)
    wall = torch.cat([torch.rand(8, 1), torch.tensor([[-1.0], [1.0]]).repeat(4, 1)], 1)

    def loss(model, batch):
        u, ut, ux, uxx = derivatives(model, batch["inner"])
        residual = ut + u * ux - VISCOSITY * uxx
        begin = model(batch["start"])[:, 0] + torch.sin(torch.pi * batch["start"][:, 1])
        return residual.square().mean() + begin.square().mean() + model(batch["wall"]).square().mean()

    return Case(model, loss, {"inner": inner, "start": start, "wall": wall})
