"""Hessian spectra, and how they change, for any PyTorch model."""
