"""Recurrent classifiers: PyTorch's layers, packed sequences, and a cell written in Python."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from jets_models.claims import Case
from jets_models.networks import classify


class Classifier(nn.Module):
    def __init__(self, layer, width):
        super().__init__()
        self.layer, self.head = layer, nn.Linear(width, 4)

    def forward(self, x):
        return self.head(self.layer(x)[0][:, -1])


class PackedClassifier(Classifier):
    """Reads sequences up to their lengths."""

    def forward(self, x):
        values, lengths = x
        packed = nn.utils.rnn.pack_padded_sequence(values, lengths, batch_first=True, enforce_sorted=False)
        states, _ = nn.utils.rnn.pad_packed_sequence(self.layer(packed)[0], batch_first=True)
        return self.head(states.sum(1))


class Cell(nn.Module):
    """Hochreiter & Schmidhuber (1997) with a forget gate (Gers et al. 2000), step by step."""

    def __init__(self, inputs, width):
        super().__init__()
        self.width = width
        self.gates = nn.Linear(inputs + width, 4 * width)

    def forward(self, x):
        hidden = x.new_zeros(len(x), self.width)
        memory, states = torch.zeros_like(hidden), []
        for step in x.unbind(1):
            i, f, g, o = self.gates(torch.cat([step, hidden], 1)).chunk(4, dim=1)
            memory = torch.sigmoid(f) * memory + torch.sigmoid(i) * torch.tanh(g)
            hidden = torch.sigmoid(o) * torch.tanh(memory)
            states.append(hidden)
        return torch.stack(states, 1), memory


LAYERS = {
    "lstm": lambda: (nn.LSTM(5, 6, batch_first=True), 6),
    "lstm_two_layers_both_ways": lambda: (nn.LSTM(5, 3, 2, batch_first=True, bidirectional=True), 6),
    "lstm_projected": lambda: (nn.LSTM(5, 6, batch_first=True, proj_size=3), 3),
    "gru": lambda: (nn.GRU(5, 6, batch_first=True), 6),
    "gru_both_ways": lambda: (nn.GRU(5, 3, batch_first=True, bidirectional=True), 6),
    "rnn_relu": lambda: (nn.RNN(5, 6, nonlinearity="relu", batch_first=True), 6),
    "own_cell": lambda: (Cell(5, 6), 6),
}


def classifier(name):
    torch.manual_seed(0)
    return Case(Classifier(*LAYERS[name]()), classify, (torch.randn(6, 7, 5), torch.randint(0, 4, (6,))))


def packed(name):
    torch.manual_seed(0)
    batch = (torch.randn(4, 6, 5), torch.tensor([6, 2, 5, 3]), torch.randint(0, 4, (4,)))

    def loss(model, batch):
        return F.cross_entropy(model(batch[:2]), batch[2])

    return Case(PackedClassifier(*LAYERS[name]()), loss, batch)
