"""Measuring the memory of a function on the CPU: every allocation of torch, those inside of operators too."""

from __future__ import annotations

import gc

import torch


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
