"""Actions in answers of the ReAct form: the published table of forms, and texts that have always been read keep their action."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docs.generate.action_forms import FORMS, Form, kind_of
from envs import ENVIRONMENTS, environment_class, make
from envs.base import InvalidAction, TextEnv
from tests.envs import golden

ACTIONS = {
    "academia": ('neighbourCheck with Action Input: {"graph": "AuthorNet", "node": "A. B"}', "loadPaperNet with Action Input: {}"),
    "alfworld": ("move mug 1 to shelf 1", "look"),
    "babyai": ("toggle and go through red closed door 1", "turn left"),
    "bird": ("SELECT `a b`, 'Action' FROM t\nWHERE c > 1 AND d LIKE '%;%'", "SELECT 1"),
    "maze": ("move up", "move down"),
    "movie": ('get_search_movie with Action Input: {"movie_name": "A \\"B\\" {C}"}', "finish with Action Input: {}"),
    "sciworld": ("wait1", "0"),
    "sheet": ('update_range with Action Input: {"values_list": [["a", 1], ["b", 2]]}', 'open_sheet with Action Input: {"name": "x"}'),
    "textcraft": ("craft 3 oak sign using 6 oak planks, 1 stick", "get 2 oak log"),
    "todo": ('update_project with Action Input: {"project_id": "7", "is_favorite": true}', "get_projects with Action Input: {}"),
    "weather": ('get_elevation with Action Input: {"latitude": -1.5, "longitude": 2}', "get_user_current_date with Action Input: {}"),
    "webarena": ("type [7] [it's *here*] [1]", "stop [$12.34]"),
    "webshop": ("search[5'' lamp, *new*]", "click[< Prev]"),
    "wordle": ("s h i r e", "p a n i c"),
}


@pytest.mark.parametrize("name", sorted(ENVIRONMENTS))
@pytest.mark.parametrize("form", FORMS, ids=[form.name for form in FORMS])
def test_forms_of_the_reference(form: Form, name: str) -> None:
    cls, (action, other) = environment_class(name), ACTIONS[name]
    text = form.text(action, other)
    if kind_of(cls) in form.refused:
        with pytest.raises(
            InvalidAction, match=re.escape(f"Give exactly one action, in the form:\nThought: ...\n{cls.action_form.example}")
        ):
            cls.parse_action(text)
    else:
        assert cls.parse_action(text) == action


def earlier_action(cls: type[TextEnv], text: str) -> str | None:
    """The action by the rules before `envs.react` (one `Action:`, or one block of SQL or for WebArena); None where they refused."""
    _, *after = text.split("Action:")
    blocks = [block.strip() for block in re.findall(r"```(.*?)```", text, re.DOTALL) if block.strip()]
    lines = [line for line in re.findall(r"Action:[ \t]*\n?[ \t]*([^\n]*)", text) if line.rstrip(" \t")]
    if kind_of(cls) == "tool call":
        return " ".join(after[0].split()) or None if len(after) == 1 else None
    if kind_of(cls) == "SQL" and not blocks:
        return after[0].strip() or None if len(after) == 1 else None
    if blocks and cls.action_form.fenced:
        block = blocks[0].removeprefix("sql").strip() if kind_of(cls) == "SQL" else blocks[0]
        return block or None if len(blocks) == 1 and (kind_of(cls) == "WebArena" or len(after) <= 1) else None
    if len(lines) != 1:
        return None
    action = lines[0].rstrip(" \t")
    if cls.name == "textcraft":
        return re.sub("[^A-Za-z0-9, ]", "", action).strip()
    return action if cls.name != "webshop" or re.fullmatch(r"(search|click)\[(.*)\]", action) else None


_WORDS = st.sampled_from(
    ["Thought:", "I see it", "Action:", "Action: \n", "Action Input:", "go north", "s h i r e", "click[Buy Now]", "1", ", "]
)
_SPACES = st.sampled_from(["", " ", "\n", "\n\n", "\t"])
_TEXTS = st.lists(st.tuples(_WORDS, _SPACES).map("".join), min_size=1, max_size=8).map("".join)


@pytest.mark.parametrize("name", ["babyai", "webshop", "textcraft"])
@given(text=_TEXTS)
@settings(max_examples=300, deadline=None, derandomize=True, database=None)
def test_texts_without_markdown_keep_their_action(name: str, text: str) -> None:
    """An action that itself holds a marker was none, and is free to be explained now."""
    cls = environment_class(name)
    before = earlier_action(cls, text)
    if before is not None and not re.search("Action|Thought", before):
        assert cls.parse_action(text) == before


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(ENVIRONMENTS))
def test_the_experts_answers_keep_their_action(name: str) -> None:
    """The episodes of the golden files, in the project's form and in AgentGym's."""
    if reason := environment_class(name).missing():
        pytest.skip(reason)
    env = make(name)
    items = (env.instructions("train") or env.instructions("eval"))[: golden.EPISODES]
    for item in items[: 3 if name == "webarena" else None]:
        for turn in golden.expert_episode(env, item.item_id)[1]:
            for text in (f"Thought: {turn.thought}\nAction: {turn.action}", f"Thought:\n{turn.thought}\n\nAction:\n{turn.action}"):
                assert env.parse_action(text) == earlier_action(type(env), text) == turn.action
    env.close()


@pytest.mark.parametrize(
    ("name", "text", "action"),
    [
        ("weather", 'Action: get_elevation\nAction Input: {"latitude": 1}', 'get_elevation with Action Input: {"latitude": 1}'),
        ("weather", 'Action: f with Action Input:\n```json\n{"a": "}`"}\n```\nI wait.', 'f with Action Input: {"a": "}`"}'),
        ("weather", "Action: `f` with Action Input: {'a': 'it\\'s }'} and then?", "`f` with Action Input: {'a': 'it\\'s }'}"),
        ("bird", "Action: SELECT ';\n' FROM t;\n\nThis gives the answer.", "SELECT ';\n' FROM t;"),
        ("bird", "Action: SELECT 1; -- one\n", "SELECT 1; -- one"),
        ("bird", "I will run:\n```sql\nSELECT 1\n```\nObservation: 1\nThought: done", "SELECT 1"),
        ("bird", "Action: ```sql\nSELECT 1\n```\nObservation: 1\nAction: ```sql\nSELECT 2\n```", "SELECT 1"),
        ("bird", "Action: SELECT 1\nObservation: 1\nAction: ```sql\nSELECT 2\n```", "SELECT 1"),
        ("webarena", "<think>```click [1]```</think> I will ```click [2]```.", "click [2]"),
    ],
)
def test_forms_of_calls_and_queries(name: str, text: str, action: str) -> None:
    assert environment_class(name).parse_action(text) == action


@pytest.mark.parametrize(
    ("text", "understood"),
    [
        ("Action: look\nAction: go \u2603 north", "Your answer has 2 different actions: 'look', 'go ? north'. "),
        ("Action:\n```\nlook\nexamine\n```", "Your answer has 2 different actions: 'look', 'examine'. "),
        ("".join(f"Action: {number}\n" for number in range(5)), "Your answer has 5 different actions: '0', '1', '2', .... "),
        ("Action: a Action: b", "Your answer has 2 different actions: 'a', 'b'. "),
        ("**Action**:\n\n", "Your answer has nothing after Action. "),
        ("I do not know.", ""),
    ],
)
def test_what_cannot_be_read_is_explained_to_the_policy(text: str, understood: str) -> None:
    env = make("alfworld")
    env.reset(options={"item_id": "alfworld_0"})
    observation, reward, *_ = env.answer(text)
    assert observation == f"{understood}Give exactly one action, in the form:\nThought: ...\nAction: ..."
    assert (reward, env.rounds) == (0.0, 1)
