"""Hypothesis on a machine that has other things to do: no example is too slow."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

unhurried = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
