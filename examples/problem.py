"""An objective of one's own, for the command: hesscope density examples/problem.py:objective

Anything works that hesscope.Objective takes: a model, a loss, and data in batches.
"""

import torch
from sklearn.datasets import load_breast_cancer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import hesscope as hs


def data() -> DataLoader:
    """569 patients, 30 measurements each, in batches of which the last is smaller."""
    measurements, benign = load_breast_cancer(return_X_y=True)
    inputs = torch.tensor(measurements, dtype=torch.float32)
    inputs = (inputs - inputs.mean(dim=0)) / inputs.std(dim=0)
    return DataLoader(TensorDataset(inputs, torch.tensor(benign, dtype=torch.float32)), batch_size=128)


def train(model: nn.Module, loss: nn.Module, batches: DataLoader) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(20):
        for inputs, targets in batches:
            optimizer.zero_grad()
            loss(model(inputs), targets).backward()
            optimizer.step()


def objective() -> hs.Objective:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(30, 20), nn.Tanh(), nn.Linear(20, 1), nn.Flatten(0))
    loss, batches = nn.BCEWithLogitsLoss(), data()
    train(model, loss, batches)
    return hs.Objective(model, loss, batches, l2=1e-3)
