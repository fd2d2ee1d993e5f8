"""Wordle: marks, guesses, the hidden word, and other vocabularies."""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Callable

import pytest

from envs.base import ExpertStuck
from envs.wordle import Wordle, common_words, describe_marks, is_consistent, marks

INVENTED = [first + second + third + "ab" for first in string.ascii_lowercase[:4] for second in "aeiou" for third in "bdf"]


def started(item_id: str = "wordle_0") -> Wordle:
    env = Wordle()
    env.reset(options={"item_id": item_id})
    return env


def spaced(word: str) -> str:
    return " ".join(word)


def wrong_words(env: Wordle) -> list[str]:
    return [spaced(word) for word in env.words if word != env.hidden]


@pytest.mark.parametrize(
    ("guess", "hidden", "expected"),
    [
        ("shire", "shire", "ggggg"),
        ("shire", "hoist", "yygbb"),
        ("eagle", "crane", "bybbg"),
        ("eerie", "crane", "bbybg"),
        ("alarm", "label", "yybbb"),
        ("label", "alarm", "yybbb"),
        ("sleep", "eagle", "byyyb"),
        ("llama", "label", "gyybb"),
    ],
)
def test_marks_count_repeated_letters_as_often_as_the_word_has_them(guess: str, hidden: str, expected: str) -> None:
    assert marks(guess, hidden) == expected


def test_first_observation_lists_the_words_with_spaces() -> None:
    observation, _ = Wordle().reset(options={"item_id": "wordle_0"})
    words = observation.removeprefix("Words: ").split(", ")
    assert len(set(words)) == 10
    assert all("".join(word.split()) in common_words() for word in words)


def test_the_hidden_word_is_one_of_the_list_and_stays() -> None:
    env = started()
    hidden = env.hidden
    assert hidden in env.words
    env.step(wrong_words(env)[0])
    assert env.hidden == hidden


def test_hidden_words_are_at_any_position_of_their_lists() -> None:
    positions: Counter[int] = Counter()
    for seed in range(0, 600, 3):
        env = started(f"wordle_{seed}")
        positions[env.words.index(env.hidden)] += 1
    assert len(positions) == 10
    assert max(positions.values()) < 40


@pytest.mark.parametrize(("seed", "words"), [(0, 10), (1, 20), (2, 40), (999999999999999998, 40)])
def test_any_seed_is_an_instruction_whose_difficulty_is_the_length_of_its_list(seed: int, words: int) -> None:
    assert len(started(f"wordle_{seed}").words) == words
    assert Wordle.instruction(f"wordle_{seed}").difficulty == f"{words} words"


def test_a_third_of_the_instructions_has_each_length_of_list() -> None:
    for items, third in ((Wordle.instructions("explore"), 318), (Wordle.instructions("eval"), 8)):
        counts = Counter(item.difficulty for item in items)
        assert set(counts) == {"10 words", "20 words", "40 words"}
        assert all(0 <= count - third <= 1 for count in counts.values())


def test_instructions_do_not_reveal_the_hidden_word() -> None:
    item = Wordle.instruction("wordle_0")
    assert item.text == Wordle().reset(options={"item_id": "wordle_0"})[0]


def test_an_observation_has_the_mark_of_every_letter() -> None:
    env = started()
    guess = wrong_words(env)[0]
    observation, reward, terminated, _, _ = env.step(guess)
    pairs = zip(guess.split(), marks(guess.replace(" ", ""), env.hidden), strict=True)
    assert observation == ", ".join(f"{letter} {mark}" for letter, mark in pairs)
    assert (reward, terminated) == (0.0, False)


@pytest.mark.parametrize("form", [spaced, str, str.upper, lambda word: f"  {spaced(word)}  "], ids=["spaced", "whole", "upper", "padded"])
def test_the_hidden_word_wins_however_it_is_spaced(form: Callable[[str], str]) -> None:
    env = started()
    observation, reward, terminated, truncated, info = env.step(form(env.hidden))
    assert observation.endswith("You have found the word.")
    assert (reward, terminated, truncated, info["success"]) == (1.0, True, False, True)


def test_the_sixth_wrong_guess_ends_the_episode_and_reveals_the_word() -> None:
    env = started()
    steps = [env.step(guess) for guess in wrong_words(env)[:6]]
    assert [step[2] for step in steps] == [False] * 5 + [True]
    assert steps[-1][0].endswith(f"No guesses are left. The word was {spaced(env.hidden)}.")
    assert (env.reward, steps[-1][4]["success"]) == (0.0, False)


def test_the_sixth_guess_can_still_win() -> None:
    env = started()
    for guess in wrong_words(env)[:5]:
        env.step(guess)
    assert env.step(spaced(env.hidden))[1:3] == (1.0, True)


def test_a_word_that_is_not_in_the_list_uses_up_a_guess() -> None:
    env = started()
    assert env.step("z z z z z")[0] == "Not in the list."
    assert [env.step(guess)[2] for guess in wrong_words(env)[:5]] == [False] * 4 + [True]


def test_text_that_is_no_five_letter_word_costs_a_round_and_no_guess() -> None:
    env = started()
    for action in ("s h i r", "12345"):
        assert env.step(action)[0].startswith("That is not a word of 5 letters.")
    assert [env.step(guess)[2:4] for guess in wrong_words(env)[:6]] == [(False, False)] * 5 + [(True, False)]
    assert env.rounds == env.max_rounds


def test_expert_guesses_the_first_word_consistent_with_all_marks() -> None:
    env = started("wordle_2")
    expert, observation = env.expert(), ""
    while not env.done:
        candidates = [word for word in env.words if is_consistent(word, env.guesses)]
        thought, action = expert.act(observation)
        assert action == spaced(candidates[0])
        assert thought.endswith(f" The word can be {action} .")
        observation = env.step(action)[0]
    assert env.reward == 1.0
    with pytest.raises(ExpertStuck):
        expert.act(observation)


def test_marks_are_described_as_a_pattern_with_present_and_absent_letters() -> None:
    assert describe_marks([]) == "nothing known."
    assert describe_marks([("shire", "bygbb")]) == "pattern _ _ i _ _ , has h , not s r e ."
    assert describe_marks([("shire", "bygbb"), ("chick", "ggggg")]) == "pattern c h i c k , not s r e ."
    assert describe_marks([("eerie", "bbybg")]) == "pattern _ _ _ _ e , has r , not i ."
    assert describe_marks([("aback", "bbbbb")]) == "pattern _ _ _ _ _ , not a b c k ."


def test_another_vocabulary_has_ids_by_the_same_rule() -> None:
    env = Wordle(words=INVENTED)
    observation, _ = env.reset(options={"item_id": "wordle_5"})
    assert set(env.words) <= set(INVENTED)
    assert len(env.words) == 40
    expert = env.expert()
    while not env.done:
        observation = env.step(expert.act(observation)[1])[0]


@pytest.mark.parametrize("words", [INVENTED[:39], [*INVENTED, INVENTED[0]], [*INVENTED, "Abcde"], [*INVENTED, "abcdef"]], ids=range(4))
def test_an_invalid_vocabulary_is_refused(words: list[str]) -> None:
    with pytest.raises(ValueError, match="40 or more different words of 5 letters"):
        Wordle(words=words)


def test_the_word_list_is_sorted_common_and_large_enough() -> None:
    words = common_words()
    assert list(words) == sorted(words)
    assert len(words) >= 400
