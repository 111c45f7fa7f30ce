"""Krylov recurrences on symmetric operators. Knows nothing of models."""
