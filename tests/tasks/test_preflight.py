"""Preflight of a run: an unusable model ends it in one line and is checked again; a usable one is checked once."""

from __future__ import annotations

from pathlib import Path

import pytest

import agentevol.preflight.model
import tasks.preflight
from agentevol.preflight.check import PreflightFailed
from agentevol.settings.schema import Params
from tasks import paths
from tasks.artifact import Artifact
from tasks.learn import base_model
from tasks.preflight import preflight, run_preflight
from tests.small_models import create_small_model

pytestmark = pytest.mark.usefixtures("project")


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Artifact:
    monkeypatch.setattr(tasks.preflight, "preflight", lambda **inputs: Artifact(**preflight.compute(**inputs)))  # without Prefect
    return base_model(str(create_small_model(paths.root() / "models" / "small", "qwen").relative_to(paths.root())))


def test_a_usable_model_is_checked_once(model: Artifact, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    params = Params.model_validate({"model": {"base": model.path}})
    assert run_preflight(params, model) is None
    monkeypatch.setattr(agentevol.preflight.model, "check_architecture", lambda *_, **__: pytest.fail("checked again"))
    assert run_preflight(params, model) is None
    assert "preflight" not in capsys.readouterr().err
    variables = {"model": {"base": model.path, "chat_template_kwargs": {"style": "short"}}}
    with pytest.raises(BaseException, match="checked again"):
        run_preflight(Params.model_validate(variables), model)


def test_an_unusable_model_ends_the_run_in_one_line_and_stores_nothing(model: Artifact) -> None:
    template = Path(model.folder) / "chat_template.jinja"
    template.write_text("{{ messages[0]['role'] }}")
    for _ in range(2):
        with pytest.raises(
            PreflightFailed, match=r"small: chat template: the chat template does not keep the text of a user message"
        ) as caught:
            run_preflight(Params(), base_model(model.path))
        assert "\n" not in str(caught.value)
    assert not list(paths.store().glob("preflight*"))
