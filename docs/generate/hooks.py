"""MkDocs hooks: add the generated pages, and turn links to files of the repository that are no pages into plain code.

Invariant: a link to a file that does not exist stays a link, so that the strict build fails on it.
"""

from __future__ import annotations

import posixpath
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from docs.generate import action_forms, api, commands, environments, metrics, parameters  # noqa: E402  (needs the path above)

REPOSITORY_PAGES = {
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "benchmarks.md": "benchmarks/README.md",
    "base-model.md": "models/base/README.md",
}
"""Pages of the site that are files elsewhere in the repository."""
_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")
_INCLUDE = re.compile(r"^<!-- generated: environments -->$", re.MULTILINE)


def on_files(files: Files, config: Any) -> Files:
    generated = {
        "reference/parameters.md": parameters.page(),
        "reference/metrics.md": metrics.page(),
        "reference/command-line.md": commands.page(),
        "reference/action-forms.md": action_forms.page(),
        "reference/python/index.md": api.index(),
        **{f"reference/python/{name}": text for name, text in api.pages().items()},
        **{f"reference/environments/{name}.md": environments.card(name) for name in environments.OWN},
    }
    for page, source in REPOSITORY_PAGES.items():
        generated[page] = _front_matter_removed((ROOT / source).read_text(encoding="utf-8"))
    single_page = ROOT / "docs" / "results" / "earlier-base" / "report.html"
    generated["results/earlier-base/report-single-page.html"] = single_page.read_text(encoding="utf-8")
    for path, text in generated.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    source = REPOSITORY_PAGES.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    markdown = _INCLUDE.sub(lambda _: environments.overview(), markdown)
    return _LINK.sub(lambda match: _link(match, source, page.file.src_uri, files), markdown)


def _link(match: re.Match[str], source: str, page: str, files: Files) -> str:
    text, target, anchor = match.group(1), match.group(2), match.group(3) or ""
    if re.match(r"[a-z]+:", target):
        return match.group(0)
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    pages = {repository: site for site, repository in REPOSITORY_PAGES.items()}
    site = pages.get(path) or path.removeprefix("docs/")
    if (path in pages or path.startswith("docs/")) and files.get_file_from_path(site) is not None:
        return f"[{text}]({posixpath.relpath(site, posixpath.dirname(page) or '.')}{anchor})"
    if (ROOT / path).exists():
        plain = text.strip("`")
        return f"`{plain}`" if plain == path else f"{text} (`{path}`)"
    return match.group(0)


def _front_matter_removed(text: str) -> str:
    return re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)
