"""What the documentation says exists: commands, options, parameters, MLflow names, links; Python snippets run; the built site is offline.

Invariant: the strict build (`make docs`) checks links between pages; here everything that it does not see.
"""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from docs.generate import commands, markdown, metrics, parameters
from docs.generate.changelog import renamed_parameters
from tests import ROOT

PAGES = sorted(
    page
    for page in [*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md"), *(ROOT / "examples").rglob("*.md")]
    if "results" not in page.relative_to(ROOT).as_posix() and page.name != "lab-notes.md"
)
COMMANDS = dict(commands.commands())
MAKE_TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
OTHER_TOOLS = {
    "dvc",
    "prefect",
    "mlflow",
    "accelerate",
    "pip",
    "uv",
    "git",
    "python",
    "export",
    "source",
    "cp",
    "rm",
    "vllm",
    "cd",
    "mkdocs",
}
KEYS = parameters.keys()
PLACEHOLDERS = {"section.key", "key"}
DEPLOYMENTS = {
    f"{deployment['entrypoint'].rpartition(':')[2]}/{deployment['name']}"
    for deployment in yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
}


def ident(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a language; "" for those without one."""
    text = page.read_text(encoding="utf-8")
    return [body for found, body in re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE) if found == language]


def command_lines(page: Path) -> Iterator[list[str]]:
    """Every command of the page: lines of blocks without a language, and inline code that starts with a known program."""
    lines = [line for block in blocks(page, "") for line in block.splitlines()]
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    lines += [code for code in re.findall(r"`([^`\n]+)`", text) if re.match(r"(agentevol|make|dvc|prefect|python) ", code)]
    for line in lines:
        for part in re.split(r"&&|;", line):
            try:
                words = shlex.split(part, comments=True)
            except ValueError:
                continue
            words = list(dropped_assignments(words))
            if words:
                yield [words[0].removeprefix(".venv/bin/"), *words[1:]]


def dropped_assignments(words: list[str]) -> Iterator[str]:
    """Without the variables in front of a command, such as `OMP_NUM_THREADS=1`."""
    started = False
    for word in words:
        started = started or not re.match(r"[A-Z_]+=", word)
        if started:
            yield word


@pytest.mark.parametrize("page", PAGES, ids=ident)
def test_its_commands_exist(page: Path) -> None:
    for words in command_lines(page):
        if words[0] == "agentevol":
            check_agentevol(words)
        elif words[0] == "make":
            targets = [word for word in words[1:] if "=" not in word and not word.startswith("-")]
            assert set(targets) <= MAKE_TARGETS, words
        elif words[:2] == ["python", "-m"] and re.match(r"(agentevol|benchmarks|docs|envs|flows|tests)\.[a-z_.]+$", words[2]):
            assert (ROOT / (words[2].replace(".", "/") + ".py")).is_file() or (ROOT / words[2].replace(".", "/")).is_dir(), words
        elif words[0] == "prefect":
            named = [word for word in words if re.fullmatch(r"[a-z]+/[a-z-]+", word)]
            assert set(named) <= DEPLOYMENTS, words
        for key in overrides(words):
            assert key in KEYS | PLACEHOLDERS or f"{key}.".startswith("engine.options."), f"{key} is no parameter: {words}"


def check_agentevol(words: list[str]) -> None:
    names = [name for name in COMMANDS if words[: len(name.split())] == name.split()]
    if not names:
        assert words in (["agentevol", "--help"], ["agentevol", "--version"]) or (len(words) == 2 and words[1] in ("data", "model")), words
        return
    found = {word.partition("=")[0] for word in words if re.match(r"--?[a-zA-Z]", word)}
    assert found <= commands.options(COMMANDS[max(names, key=len)]), words


def overrides(words: list[str]) -> list[str]:
    values = [after for before, after in pairwise(words) if before in ("-S", "--set")]
    return [value.partition("=")[0].removeprefix("+") for value in values]


@pytest.mark.parametrize("page", PAGES, ids=ident)
def test_keys_in_its_text_are_parameters(page: Path) -> None:
    """`evolve.samples` and the like in inline code."""
    if page.name == "CHANGELOG.md":
        return
    sections = "|".join(sorted({key for key in KEYS if "." not in key and key not in ("seed", "environments")}))
    for key in re.findall(rf"`((?:{sections})\.[a-z_.]+)(?:[=:][^`]*)?`", page.read_text(encoding="utf-8")):
        assert key in KEYS or key.endswith((".py", ".yaml", ".json", ".dvc")), f"{key} is no parameter"


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "yaml")], ids=ident)
def test_its_parameter_files_are_valid(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    from agentevol.settings.schema import Params
    from envs import registry

    monkeypatch.setitem(registry.ENVIRONMENTS, "lamps", "agentevol_lamps:Lamps")  # the example package's
    for block in blocks(page, "yaml"):
        if "compute_environment:" in block:  # a configuration of accelerate
            (tmp_path / "accelerate.yaml").write_text(block)
            load_config_from_file(str(tmp_path / "accelerate.yaml"))
        else:
            Params.model_validate(yaml.safe_load(block))


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=ident)
@pytest.mark.slow
def test_its_python_runs(page: Path, tmp_path: Path) -> None:
    """Each block by itself, in an empty folder, but for what needs files or servers of the reader: there the imports must exist."""
    for block in blocks(page, "python"):
        source = block if page.name not in ("own-task-data.md", "mlflow.md") else imports_of(block)
        file = tmp_path / "snippet.py"
        file.write_text(source, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, str(file)], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, f"{source}\n{done.stderr}"


def imports_of(block: str) -> str:
    return "\n".join(ast.unparse(node) for node in ast.parse(block).body if isinstance(node, ast.Import | ast.ImportFrom))


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent in (ROOT, ROOT / "examples")], ids=ident)
def test_links_of_pages_outside_the_site_resolve(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        assert re.match(r"https?://", target) or (page.parent / target).exists(), target


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


def test_renamed_parameters_are_in_the_changelog() -> None:
    assert renamed_parameters() in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_parameter_is_described() -> None:
    assert [found.key for found in parameters.every_parameter() if not (found.meaning and found.effect)] == []


def test_every_mlflow_tag_is_documented() -> None:
    """The tags in tasks/mlflow_*.py; the names of metrics are compared in tests/tasks/test_mlflow_run.py."""
    source = "".join(file.read_text(encoding="utf-8") for file in sorted((ROOT / "tasks").glob("mlflow_*.py")))
    tags = set(re.findall(r'"(agentevol\.[a-z_]+)"', source)) | set(re.findall(r'= "(mlflow\.[a-zA-Z_.]+)"', source))
    documented = " ".join(metrics.names())
    assert len(tags) > 8
    assert not sorted(tag for tag in tags if tag not in documented)


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=ident)
def test_the_files_that_it_names_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for path in re.findall(r"`((?:flows|tasks|agentevol|envs|docs|tests|benchmarks)/[a-zA-Z0-9_/]*(?:\.py|/))`", text):
        assert (ROOT / path).exists(), path


@pytest.mark.slow
def test_the_site_builds_strictly_and_loads_nothing_from_the_network(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs_autorefs", reason="the extra docs is not installed")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    environment = {"PATH": str(Path(sys.executable).parent), "DOCS_QUICK": "1", "NO_MKDOCS_2_WARNING": "1", "HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    network = r"[\"']?(https?:|//)"
    loads = re.compile(rf"<(?:script|img|iframe|source)[^>]* src={network}|<link(?![^>]*rel=[\"']?canonical)[^>]* href={network}")
    for page in tmp_path.rglob("*.html"):
        assert not loads.search(page.read_text(encoding="utf-8")), page
    for style in tmp_path.rglob("*.css"):
        assert not re.search(rf"url\({network}|@import[^;]*http", style.read_text(encoding="utf-8")), style


def test_a_paragraph_of_labelled_parts_becomes_a_list() -> None:
    """The cards of environments: `Action Input:` and a colon within a part are not labels."""
    parts = "Actions: `name with\nAction Input: {...}`. Reward: 1, else 0: it ends.\nAt most 9 rounds. Success: 1."
    points = "- **Actions**: `name with Action Input: {...}`.\n- **Reward**: 1, else 0: it ends.\n- At most 9 rounds.\n- **Success**: 1."
    assert markdown.labels_listed(f"Questions.\n\n{parts}\n\nReward: alone.") == f"Questions.\n\n{points}\n\nReward: alone."
