"""Fisher information matrices of an objective."""

from __future__ import annotations

from hesscope.curvature.fisher_matrices import Drawn, Empirical, Expected, FactorMatrix
from hesscope.curvature.ggn import output_operator
from hesscope.curvature.outputs import require_criterion
from hesscope.curvature.planned import PlannedHessian
from hesscope.objective import Objective


def fisher(
    objective: Objective,
    *,
    kind: str = "exact",
    num_samples: int = 1,
    seed: int = 0,
    engine: str = "auto",
    memory_budget: int | None = None,
) -> PlannedHessian:
    r"""Return a Fisher information matrix of an objective as an operator.

    The criterion is read as the negative log likelihood of labels given the outputs. With the weights
    :math:`c_i` that the objective gives its samples, F is :math:`\sum_i c_i \, E[g_i g_i^T]`, where
    :math:`g_i` is the gradient of one label's negative log likelihood, and the expectation is over

    ==============  ==============================================================================
    "exact"         labels that follow the model's prediction, in closed form
    "monte_carlo"   the mean of ``num_samples`` draws of a label from the model's prediction
    "empirical"     the labels of the data, all of one row of the target together: :math:`g_i` is the
                    gradient of the objective on sample i alone
    ==============  ==============================================================================

    Where the outputs are natural parameters of the likelihood (``cross_entropy``, ``mse_loss``,
    ``binary_cross_entropy_with_logits``), "exact" is the GGN without ``l2``; class weights, ignored labels
    and label smoothing weight the samples as they do there. The empirical Fisher is not: it belongs to
    the noise of the gradient, see :func:`gradient_covariance`.

    Parameters
    ----------
    objective
        With a criterion: one of those above or ``nll_loss`` on log-probabilities for "exact" and
        "monte_carlo"; for "empirical" any of ``torch.nn.functional`` whose mean is understood. ``l2`` is no
        part of a likelihood and left out.
    kind
        See above.
    num_samples, seed
        Of "monte_carlo". A draw depends on the seed, the number of the batch and the place of the label in
        it, and on nothing else: all products, engines and devices use the same labels.
    engine, memory_budget
        As in :func:`ggn`.

    Returns
    -------
    PlannedHessian
        A positive semi-definite operator with n = ``objective.n``. Nothing is computed before the first
        product, and no gradient of a single sample at any time.

    Raises
    ------
    TypeError
        If the objective is none.
    ValueError
        If it has no criterion or an unknown one, kind or engine is unknown, a number out of range, or, for
        "empirical", batch norm mixes the samples.

    Notes
    -----
    Cost of a product: as for the GGN, about 1.3 gradients; memory besides: ``num_samples`` times the
    outputs.

    References
    ----------
    Martens (2020), JMLR 21 (146); Kunstner, Balles, Hennig (2019), NeurIPS, on the empirical Fisher.

    Examples
    --------
    >>> import torch
    >>> model, loss = torch.nn.Linear(3, 1), torch.nn.MSELoss()
    >>> objective = Objective(model, loss, (torch.ones(5, 3), torch.zeros(5, 1)))
    >>> fisher(objective) @ torch.ones(4)
    tensor([8., 8., 8., 8.])
    """
    require_criterion(objective, "fisher")
    if num_samples < 1:
        msg = f"fisher: num_samples must be at least 1, got {num_samples}"
        raise ValueError(msg)
    if not 0 <= seed < 2**63:
        msg = f"fisher: seed must be in [0, 2**63), got {seed}"
        raise ValueError(msg)
    criterion = objective.criterion
    assert criterion is not None
    matrix: FactorMatrix
    if kind == "exact":
        matrix = Expected(criterion)
    elif kind == "monte_carlo":
        matrix = Drawn(criterion, num_samples=num_samples, seed=seed)
    elif kind == "empirical":
        matrix = empirical(objective, "fisher")
    else:
        msg = f"fisher: kind must be 'exact', 'monte_carlo' or 'empirical', got {kind!r}"
        raise ValueError(msg)
    return output_operator(objective, matrix, engine, memory_budget)


def empirical(objective: Objective, matrix: str) -> Empirical:
    """Return M of the second moment of the gradients of samples.

    Raises
    ------
    ValueError
        If the loss of one sample is not known, or not a function of that sample.
    """
    criterion = objective.criterion
    assert criterion is not None
    if criterion.count is None:
        msg = (
            f"{matrix}: criterion must be one of torch.nn.functional whose mean is understood, so that the "
            f"loss of one sample is known, got {criterion.name}"
        )
        raise ValueError(msg)
    mixing = objective.state.mixes_samples()
    if mixing:
        msg = (
            f"{matrix}: the loss of a sample must depend on that sample alone, but {', '.join(mixing[:3])} "
            "normalises over the batch; pass mode='eval' to Objective"
        )
        raise ValueError(msg)
    return Empirical(criterion, matrix)
