"""The learning rate schedule and the loss curve."""

from __future__ import annotations

import pytest

from agentevol.training.schedule import LearningRateSchedule, LossCurve


def test_the_learning_rate_warms_up_and_then_decays() -> None:
    schedule = LearningRateSchedule(peak=1.0, steps=100, warmup_ratio=0.1, min_ratio=0.1)
    rates = [schedule.at(step) for step in range(100)]
    assert max(rates) == pytest.approx(1.0)
    assert rates.index(max(rates)) in (9, 10)
    assert rates[0] == pytest.approx(0.1)
    assert 0.1 <= rates[-1] < 0.12


def test_the_loss_curve_has_about_a_hundred_means_and_the_last_step() -> None:
    curve = LossCurve(250)
    for step in range(1, 251):
        curve.add(step, float(step))
    assert len(curve.points) == 125
    assert curve.points[0] == [2, 1.5]
    assert curve.points[-1] == [250, 249.5]
