"""Is a minimum robust? One network, trained to nearly the same loss with two step sizes.

A minimum is robust if its curvature is small and stays small nearby. The second half is the third derivative.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn

import hesscope as hs

images, labels = load_digits(return_X_y=True)
inputs = torch.tensor(images / 16, dtype=torch.float32)
targets = nn.functional.one_hot(torch.tensor(labels), 10).float()
loss = nn.MSELoss()


def train(step_size: float, steps: int) -> nn.Module:
    """Plain gradient descent on all of the data, from the same start."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 24), nn.Tanh(), nn.Linear(24, 24), nn.Tanh(), nn.Linear(24, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=step_size)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(model(inputs), targets).backward()
        optimizer.step()
    return model


for step_size, steps in ((1.0, 1500), (2.0, 750)):
    model = train(step_size, steps)
    print(f"step size {step_size}")
    print(hs.curvature_stability(hs.Objective(model, loss, (inputs, targets))), end="\n\n")
