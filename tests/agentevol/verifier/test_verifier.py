"""The verifier: logistic regression against a plain implementation, held-out predictions, and figures that can be computed by hand."""

from __future__ import annotations

from dataclasses import replace
from math import isnan
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize

from agentevol.data.trajectory import Message, Trajectory
from agentevol.verifier.features import episode_features
from agentevol.verifier.logistic_regression import fit
from agentevol.verifier.quality import auc, verifier_quality
from agentevol.verifier.verifier import FOLDS, fold_of, predict_success
from tests.agentevol.counting import play_counting


def episode(number: int, success: bool, sample: int = 0, **changes: object) -> Trajectory:
    row = play_counting(4, ["5"], sample=sample)
    return replace(row, item_id=f"counting_{number}", success=success, **changes)  # type: ignore[arg-type]


def many(count: int = 60) -> tuple[list[Trajectory], np.ndarray]:
    """Episodes of which every second succeeds, and features with noise: the first column shows the outcome, the others do not."""
    noise = np.random.default_rng(0).normal(size=(count, 4))
    episodes = [episode(number, number % 2 == 0) for number in range(count)]
    noise[:, 0] += [3.0 * row.success for row in episodes]
    return episodes, noise


def test_the_regression_is_the_minimum_that_scipy_finds() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(80, 3)) * [1, 10, 0.1] + 5
    labels = (features[:, 0] + rng.normal(size=80) > 5).astype(float)
    model = fit(features, labels, penalty=2.0)
    inputs = (features - features.mean(axis=0)) / features.std(axis=0)

    def loss(parameters: np.ndarray) -> float:
        scores = inputs @ parameters[:3] + parameters[3]
        return float(np.logaddexp(0, scores).sum() - labels @ scores + (parameters[:3] ** 2).sum())

    expected = minimize(loss, np.zeros(4), tol=1e-12).x
    assert [*model.weights, model.bias] == pytest.approx(expected, abs=1e-4)


def test_one_outcome_alone_is_predicted_by_the_rule_of_succession() -> None:
    model = fit(np.arange(6.0).reshape(3, 2), np.zeros(3), penalty=1.0)
    assert model.probabilities(np.array([[9.0, 9.0]])) == pytest.approx([1 / 5])
    with pytest.raises(ValueError, match="0 rows and the penalty 1 given"):
        fit(np.zeros((0, 2)), np.zeros(0), penalty=1.0)


def test_predictions_follow_what_the_text_shows_and_errors_count_nowhere() -> None:
    episodes, features = many()
    predictions = predict_success(episodes, features, penalty=1.0)
    quality = verifier_quality(episodes, predictions)
    assert quality["counting"].auc > 0.9
    assert quality["counting"].brier < quality["counting"].base_brier
    failed = [replace(episodes[0], status="error", success=False), *episodes[1:]]
    assert predict_success(failed, features, penalty=1.0)[0] == 0.0
    assert verifier_quality(failed, predictions)["overall"].n == len(episodes) - 1


def test_no_prediction_has_seen_its_instruction() -> None:
    """Other outcomes of a fold's episodes change no prediction of that fold."""
    episodes, features = many()
    fold = fold_of(episodes[0].item_id)
    turned = [replace(row, success=not row.success) if fold_of(row.item_id) == fold else row for row in episodes]
    plain, other = (predict_success(rows, features, penalty=1.0) for rows in (episodes, turned))
    in_fold = [fold_of(row.item_id) == fold for row in episodes]
    assert [a == b for a, b in zip(plain, other, strict=True)] == in_fold
    assert 0 < sum(in_fold) < len(episodes)
    assert {fold_of(row.item_id) for row in episodes} == set(range(FOLDS))


def test_an_auc_by_hand_and_one_without_both_outcomes() -> None:
    # Of the four pairs of a success and a failure, three are in order and one is a tie.
    assert auc(np.array([1.0, 1, 0, 0]), np.array([0.9, 0.4, 0.4, 0.1])) == 3.5 / 4
    assert isnan(auc(np.ones(3), np.ones(3)))
    assert verifier_quality([episode(1, True)], [0.7])["overall"].to_dict()["auc"] is None


def test_the_number_of_rounds_alone_is_the_measure_to_beat() -> None:
    episodes = [episode(number, number < 5, rounds=3 if number < 5 else 8) for number in range(10)]
    assert verifier_quality(episodes, [0.5] * 10)["overall"].rounds_auc == 1.0


def test_calibration_compares_predictions_with_rates() -> None:
    episodes = [episode(number, number % 4 == 0) for number in range(400)]
    calibrated = verifier_quality(episodes, [0.25] * 400)["overall"]
    assert calibrated.brier == pytest.approx(0.25 * 0.75)
    assert (calibrated.base_brier, calibrated.mean_prediction) == (pytest.approx(0.25 * 0.75), 0.25)
    assert calibrated.calibration_error < 0.05
    assert verifier_quality(episodes, [0.9] * 400)["overall"].calibration_error == pytest.approx(0.65, abs=0.01)


def test_features_are_of_the_answers_and_not_of_the_last_observation(small_models: dict[str, Path], counting: str) -> None:
    won = play_counting(4, ["5"])
    other_words = replace(won, messages=[*won.messages[:-1], Message("user", "You have won!")])
    other_answer = play_counting(4, ["7", "5"])
    silent = replace(won, messages=won.messages[:1])
    features = episode_features([won, other_words, other_answer, silent], small_models["llama"], max_tokens=512)
    assert np.array_equal(features[0], features[1]), "the outcome that the environment states is not read"
    assert not np.array_equal(features[0], features[2])
    assert not features[3].any(), "no answer, nothing to judge"
    alone = episode_features([other_answer], small_models["llama"], max_tokens=512)
    assert np.array_equal(features[2], alone[0])


def test_a_hopeless_penalty_leaves_the_base_rate() -> None:
    episodes, features = many(40)
    predictions = predict_success(episodes, features, penalty=1e9)
    assert predictions == pytest.approx([0.5] * 40, abs=0.2)
