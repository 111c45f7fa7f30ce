"""Every loss of ``torch.nn`` through the jets engine against double backward."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from jets_cases import assert_agrees, function_objective, smooth

CLASSES = torch.tensor([0, 2, 1, -100, 1])
WEIGHT = torch.tensor([0.3, 1.0, 2.0], dtype=torch.float64)
SHARES = torch.softmax(smooth(5, 3, seed=2), 1)
Y = smooth(5, 3, seed=9)
SIGNS = torch.where(Y > 0, 1.0, -1.0)
PAIRS = torch.tensor([1, -1, 1, 1, -1])


def classes_2d(x, **options):
    return F.nll_loss(x.view(1, 3, 1, 5).log_softmax(1), CLASSES[None, None], WEIGHT, **options)


CASES = {
    "CrossEntropyLoss": lambda x: F.cross_entropy(x, CLASSES),
    "CrossEntropyLoss_all_options": lambda x: F.cross_entropy(x, CLASSES, WEIGHT, label_smoothing=0.1),
    "CrossEntropyLoss_ignore_index": lambda x: F.cross_entropy(x, CLASSES.clamp_min(0), ignore_index=1),
    "CrossEntropyLoss_probabilities": lambda x: F.cross_entropy(x, SHARES, WEIGHT, label_smoothing=0.1),
    "CrossEntropyLoss_none": lambda x: F.cross_entropy(x, CLASSES, reduction="none"),
    "CrossEntropyLoss_sum": lambda x: F.cross_entropy(x, CLASSES, WEIGHT, reduction="sum"),
    "CrossEntropyLoss_one_sample": lambda x: F.cross_entropy(x[0], CLASSES[0]),
    "NLLLoss": lambda x: F.nll_loss(x.log_softmax(1), CLASSES, WEIGHT),
    "NLLLoss_2d": classes_2d,
    "NLLLoss_2d_none": lambda x: classes_2d(x, reduction="none"),
    "MSELoss": lambda x: F.mse_loss(x, Y),
    "MSELoss_weight": lambda x: F.mse_loss(x, Y, weight=Y.abs()),
    "L1Loss": lambda x: F.l1_loss(x * x, Y),
    "SmoothL1Loss": lambda x: F.smooth_l1_loss(x, Y, beta=0.5),
    "HuberLoss": lambda x: F.huber_loss(x, Y, delta=0.4, reduction="sum"),
    "BCELoss": lambda x: F.binary_cross_entropy(x.sigmoid(), SHARES, weight=WEIGHT),
    "BCELoss_both": lambda x: F.binary_cross_entropy(x.sigmoid(), x.flip(0).sigmoid()),
    "BCEWithLogitsLoss": lambda x: F.binary_cross_entropy_with_logits(x, SHARES, WEIGHT, pos_weight=WEIGHT),
    "KLDivLoss": lambda x: F.kl_div(x.log_softmax(1), SHARES, reduction="batchmean"),
    "KLDivLoss_log_target": lambda x: F.kl_div(
        x.log_softmax(1), SHARES.log(), log_target=True, reduction="sum"
    ),
    "KLDivLoss_of_the_target": lambda x: F.kl_div(SHARES.log(), x.softmax(1), reduction="sum"),
    "KLDivLoss_of_the_log_target": lambda x: F.kl_div(
        SHARES.log(), x.log_softmax(1), reduction="sum", log_target=True
    ),
    "GaussianNLLLoss": lambda x: F.gaussian_nll_loss(x, Y, x * x + 0.1, full=True),
    "PoissonNLLLoss": lambda x: F.poisson_nll_loss(x, Y.abs()),
    "PoissonNLLLoss_full": lambda x: F.poisson_nll_loss(x.exp(), Y.abs() + 2, log_input=False, full=True),
    "CosineEmbeddingLoss": lambda x: F.cosine_embedding_loss(x, Y, PAIRS, margin=0.1),
    "TripletMarginLoss": lambda x: F.triplet_margin_loss(x, Y, x.flip(0) * 2),
    "TripletMarginLoss_p": lambda x: F.triplet_margin_loss(x, Y, x.flip(0) * 2, p=3, swap=True),
    "TripletMarginWithDistanceLoss": lambda x: F.triplet_margin_with_distance_loss(x, Y, x.flip(0) * 2),
    "HingeEmbeddingLoss": lambda x: F.hinge_embedding_loss(x * x, SIGNS),
    "MarginRankingLoss": lambda x: F.margin_ranking_loss(x * x, Y, SIGNS),
    "MultiLabelSoftMarginLoss": lambda x: F.multilabel_soft_margin_loss(x, SHARES.round(), WEIGHT),
    "SoftMarginLoss": lambda x: F.soft_margin_loss(x, SIGNS),
    "focal": lambda x: ((1 - x.sigmoid()) ** 2 * F.binary_cross_entropy_with_logits(x, SHARES)).mean(),
}
# piecewise linear of a kind whose backward pass PyTorch computes by an operator of its own
WITHOUT_A_RULE = {"MultiLabelMarginLoss", "MultiMarginLoss", "CTCLoss"}
DEPRECATED = {"NLLLoss2d"}
NOT_HERE = {"LinearCrossEntropyLoss", "AdaptiveLogSoftmaxWithLoss"}


@pytest.mark.parametrize("name", CASES)
def test_losses(name):
    assert_agrees(function_objective(CASES[name], smooth(5, 3)))


def test_no_loss_of_torch_is_left_out():
    covered = {name.split("_")[0] for name in CASES}
    left = set(nn.modules.loss.__all__) - covered - WITHOUT_A_RULE - DEPRECATED - NOT_HERE
    assert not left
