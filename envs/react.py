"""The action in a policy's answer of the ReAct form `Thought: ... Action: ...` (Yao et al., 2023, arXiv 2210.03629), as models write it.

One parser for all environments; `ActionForm` holds what differs. Invariants: an answer with a single `Action:` and no Markdown around the
action gives exactly the text after it; the time is linear in the length of the answer; a text is never evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from envs.printable import printable_line


class InvalidAction(ValueError):
    """The policy's text holds no usable action; the message is shown to the policy as the next observation."""


@dataclass(frozen=True, slots=True)
class ActionForm:
    """How the actions of an environment are written.

    `example`: the line that messages ask the policy to write. `multiline`: an action goes on to the end of its round; otherwise it is one
    line. `fenced`: a block between ``` and ``` is the action, also in the middle of other text.
    """

    example: str = "Action: ..."
    multiline: bool = False
    fenced: bool = False


_FENCE = "```"
_LANGUAGES = frozenset("action bash console json markdown md plain plaintext py python sh shell sql sqlite text tool txt".split())
# A possessive quantifier (*+) never backtracks, and ^ limits the others to one try per line: the time is linear.
_MARKS = r"[ \t>*+#\-_`\d.)\u2022]*"
_EXACT = re.compile(r"Action:")
_VARIANT = re.compile(
    rf"^{_MARKS}action[ \t*_`\d]*+[:\uff1a]"  # action:, **Action**:, - Action 1:, 2. ACTION:
    r"|^[ \t]*(?:#+[ \t]*|\*\*)action[ \t]*(?:\*\*)?[ \t]*$"  # ## Action, on a line of its own
    r"|(?-i:(?:\*\*|__|`)Action(?:\*\*|__|`)[ \t]*+[:\uff1a]|Action[ \t]*+\uff1a)",  # also in the middle of a line
    re.IGNORECASE | re.MULTILINE,
)
_OBSERVATION = re.compile(rf"^{_MARKS}observation[ \t*_`\d]*+[:\uff1a]", re.IGNORECASE | re.MULTILINE)
_NEXT_ROUND = re.compile(rf"^{_MARKS}(?:thought|observation)[ \t*_`\d]*+[:\uff1a]", re.IGNORECASE | re.MULTILINE)
_THINK_START, _THINK_END = re.compile(r"<think(?:ing)?>"), re.compile(r"</think(?:ing)?>")
_MARKER_PARTS = re.compile(r"([*_`]*)action([ \t*_`\d]*)", re.IGNORECASE)
_LIST_MARK = re.compile(r"(?:[-*+\u2022]|\d{1,2}[.)])[ \t]+(?=\S)")
_WRAPPERS = ("**", "__", "``", "`", "*", '"')
_MAX_SHOWN_ACTIONS, _MAX_SHOWN_CHARS = 3, 60


def parse_action(text: str, form: ActionForm) -> str:
    """The one action in an answer. Raises InvalidAction, which tells the policy what was understood and what to write.

    After `Observation:`, a model goes on with a conversation that it invents: only the actions before it count. Thoughts between <think>
    and </think> count only if there is no action outside. The same action given twice is one action.
    """
    text = text.replace("\r\n", "\n")
    actions: dict[str, str] = {}
    for action in _candidates(text, form):
        actions.setdefault(" ".join(action.split()), action)
    if len(actions) == 1:
        return next(iter(actions.values()))
    understood = ""  # without a marker there is nothing to tell
    if actions:
        shown = ", ".join(_quoted(action) for action in list(actions)[:_MAX_SHOWN_ACTIONS])
        understood = f"Your answer has {len(actions)} different actions: {shown}{', ...' if len(actions) > _MAX_SHOWN_ACTIONS else ''}. "
    elif _EXACT.search(text) or _VARIANT.search(text):
        understood = "Your answer has nothing after Action. "
    raise InvalidAction(f"{understood}Give exactly one action, in the form:\nThought: ...\n{form.example}")


def _candidates(text: str, form: ActionForm) -> list[str]:
    """The texts that may be the action, without the Markdown around them; none of them is empty."""
    parts = _parts_by_trust(text)
    for part in parts:
        if form.fenced and (block := _only_block(part)):
            return [block]
        for pattern in (_EXACT, _VARIANT):
            markers = _markers(part, pattern)
            for skip_blank_lines in (False, True) if markers else ():
                if found := _marked_actions(part, markers, form, skip_blank_lines):
                    return found
        if form.fenced and (blocks := _blocks(part)):
            return [block for _, block in blocks]
    return next((found for part in parts if (found := _unmarked_actions(part, form))), [])


def _parts_by_trust(text: str) -> list[str]:
    """What follows the thoughts between <think> and </think>, what precedes them, and the whole text."""
    start, ends = _THINK_START.search(text), list(_THINK_END.finditer(text))
    after = [text[ends[-1].end() :]] if ends else []
    before = [text[: start.start()]] if start else []
    return [*after, *before, text]


def _markers(text: str, pattern: re.Pattern[str]) -> list[tuple[int, int, str]]:
    """(start, end, open marks before it) of every marker, `Action:` or another form of it."""
    return [(match.start() - len(marks), match.end(), marks) for match in pattern.finditer(text) for marks in [_open_marks(match)]]


def _marked_actions(text: str, markers: list[tuple[int, int, str]], form: ActionForm, skip_blank_lines: bool) -> list[str]:
    """The actions of the first round that stand behind one of the markers."""
    found: list[str] = []
    end = len(text)
    for index, (start, content_start, marks) in enumerate(markers):
        if start >= end:
            break
        content_end = min(end, markers[index + 1][0] if index + 1 < len(markers) else end)
        if next_round := _NEXT_ROUND.search(text, content_start, content_end):
            content_end = next_round.start()
        actions = _read_action(text[content_start:content_end], marks, form, skip_blank_lines)
        if actions and not found and (observation := _OBSERVATION.search(text, content_start)):
            end = observation.start()
        found += actions
    return found


def _open_marks(match: re.Match[str]) -> str:
    """The Markdown marks before `Action` that are not closed before its colon: `**` in `**Action:** go` and in `**Action: go**`."""
    parts = _MARKER_PARTS.search(match[0])
    assert parts is not None, "every marker holds the word"
    if parts[2].strip(" \t"):
        return ""
    if parts[1]:
        return parts[1]
    before = match.string[max(0, match.start() - 3) : match.start()]
    return before[len(before.rstrip("*_`")) :]


def _read_action(content: str, marks: str, form: ActionForm, skip_blank_lines: bool) -> list[str]:
    """The action in the text behind a marker; several if it has several blocks or a block of several lines, which is ambiguous."""
    action = content.strip()
    skipped = content[: len(content) - len(content.lstrip())]
    if not action or (skipped.count("\n") > 1 and not (form.multiline or skip_blank_lines)):
        return []
    if action.startswith(marks + _FENCE):
        return _actions_of_block(_without_language(action.removeprefix(marks)[len(_FENCE) :].partition(_FENCE)[0]), form)
    if form.fenced and (blocks := _blocks(content)):
        return [block for _, block in blocks]
    if not form.multiline:
        action = action.partition("\n")[0]
    if action.count(_FENCE) % 2:  # the end of a block around the whole answer
        action = action[: action.rfind(_FENCE)]
    action = _without_marks(action.strip(), marks)
    return [action] if action else []


def _without_marks(action: str, marks: str) -> str:
    """The action without marks of lists, bold type, code and quotes around it. `marks`: those that were opened before it."""
    if marks:
        action = action.removeprefix(marks).lstrip() if action.startswith(marks) else action.removesuffix(marks).rstrip()
    if match := _LIST_MARK.match(action):
        action = action[match.end() :]
    for wrapper in _WRAPPERS:
        if not action.startswith(wrapper):
            continue
        inner, closing, rest = action[len(wrapper) :].rpartition(wrapper)
        if closing and not rest.strip(" .!;"):
            action = inner.strip()
        elif wrapper == "**" and not closing:
            action = rest.strip()
    return action


def _only_block(text: str) -> str | None:
    """The text of the only block, unless it belongs to an invented later round or there are several actions."""
    blocks = _blocks(text)
    if len(blocks) != 1 or len(_EXACT.findall(text)) > 1:
        return None
    start, block = blocks[0]
    observation = _OBSERVATION.search(text, 0, start)
    is_later_round = observation is not None and (
        _EXACT.search(text, 0, observation.start()) or _VARIANT.search(text, 0, observation.start())
    )
    return None if is_later_round else block


def _unmarked_actions(text: str, form: ActionForm) -> list[str]:
    """The actions in blocks of an answer that has no marker."""
    return [action for _, block in _blocks(text) for action in _actions_of_block(block, form)]


def _blocks(text: str) -> list[tuple[int, str]]:
    """(position, content) of the blocks between ``` and ``` that are not empty and not the whole answer in a block."""
    *pieces, _ = text.split(_FENCE)  # text, block, text, block, ...; what follows the last ``` is no block
    found, position = [], 0
    for index, piece in enumerate(pieces):
        block = _without_language(piece).strip()
        if index % 2 and block and not _begins_an_answer(block):
            found.append((position, block))
        position += len(piece) + len(_FENCE)
    return found


def _begins_an_answer(block: str) -> bool:
    return any(pattern.match(block) for pattern in (_NEXT_ROUND, _EXACT, _VARIANT))


def _actions_of_block(block: str, form: ActionForm) -> list[str]:
    """The block itself where an action may have several lines, else its lines."""
    texts: Iterator[str] = iter([block]) if form.multiline else iter(block.split("\n"))
    return [action for text in texts if (action := _without_marks(text.strip(), ""))]


def _without_language(block: str) -> str:
    """The content of a block without the language behind its first ```."""
    language, newline, rest = block.partition("\n")
    if newline and language.strip().lower() in _LANGUAGES:
        return rest
    return block[3:] if block.startswith(("sql", "SQL")) else block


def _quoted(action: str) -> str:
    """An action in one short line of printable ASCII, which every observation is."""
    line = printable_line(" ".join(action.split())[: _MAX_SHOWN_CHARS + 1])
    return f"'{line if len(line) <= _MAX_SHOWN_CHARS else line[:_MAX_SHOWN_CHARS] + '...'}'"
