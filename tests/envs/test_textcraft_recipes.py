"""TextCraft's recipe book, from Minecraft's recipes and from any list of recipes."""

from __future__ import annotations

import pytest

from envs import UnknownItem
from envs.textcraft import Recipe, RecipeBook, TextCraft, minecraft
from envs.textcraft.minecraft import minecraft_recipes
from envs.textcraft.planner import count_rounds
from tests.envs.golden import expert_episode


def recipes(*commands: str) -> list[Recipe]:
    return [Recipe.parse(command) for command in commands]


def test_minecrafts_book_is_complete() -> None:
    everything = minecraft_recipes()
    assert len(everything) == 1197
    assert len({recipe.output for recipe in everything}) == 561
    book = RecipeBook(everything)
    assert len(book.goals) == 549
    assert {"iron ingot", "gold ingot", "wheat", "redstone"}.isdisjoint(book.recipes)
    assert str(book.recipes["stick"]) == "craft 4 stick using 2 oak planks"
    left_out = set(book.goals) - set(TextCraft().book.goals)
    assert min(count_rounds(book, goal) for goal in left_out) == max(count_rounds(book, goal) for goal in TextCraft().book.goals) == 19


def test_a_cycle_leaves_its_most_used_item_raw() -> None:
    book = RecipeBook(
        recipes("craft 9 zil using 1 zil block", "craft 1 zil block using 9 zil", "craft 1 zil ring using 2 zil", "craft 1 ax using 3 zil")
    )
    assert set(book.recipes) == {"zil block", "zil ring", "ax"}
    assert book.goals == ("ax", "zil block", "zil ring")
    assert (book.depth("zil"), book.depth("ax")) == (0, 1)


def test_the_first_alternative_that_closes_no_cycle_is_kept() -> None:
    hut = "craft 1 hut using 4 mud"
    book = RecipeBook(
        recipes("craft 1 mud using 1 brick", "craft 1 mud using 1 soil", "craft 1 mud using 1 dust", "craft 1 brick using 1 mud", hut)
    )
    assert {item: str(recipe) for item, recipe in book.recipes.items()} == {
        "brick": "craft 1 brick using 1 mud",
        "hut": hut,
        "mud": "craft 1 mud using 1 soil",
    }
    assert [book.depth(item) for item in ("soil", "mud", "brick", "hut")] == [0, 1, 2, 2]


def test_an_invented_book_can_be_played() -> None:
    book = RecipeBook(recipes("craft 2 dax using 3 wug", "craft 1 fep using 3 dax, 1 blick", "craft 5 tove using 2 mim"))
    env = TextCraft(book)
    observation, info = env.reset(seed=3)
    assert (observation, info["item_id"]) == (TextCraft(book).reset(seed=3)[0], env.item_id)
    assert {TextCraft(book).reset(seed=seed)[1]["item_id"] for seed in range(20)} == {"textcraft_0", "textcraft_1", "textcraft_2"}
    _, turns = expert_episode(env, "textcraft_2")
    assert [turn.action for turn in turns] == [
        "get 6 wug",
        "craft 2 dax using 3 wug",
        "craft 2 dax using 3 wug",
        "get 1 blick",
        "craft 1 fep using 3 dax, 1 blick",
    ]
    assert env.succeeded(env.reward)
    with pytest.raises(UnknownItem, match="textcraft_2"):
        env.reset(options={"item_id": "textcraft_3"})


def test_distractors_that_share_ingredients_come_first() -> None:
    book = RecipeBook(
        recipes("craft 1 goal using 1 wug", "craft 1 near using 2 wug", *(f"craft 1 far{n} using 1 raw{n}" for n in range(9)))
    )
    for salt in ("a", "b", "c"):
        shown = [recipe.output for recipe in book.list_for("goal", salt, 2)]
        assert len(shown) == 3
        assert {"goal", "near"} < set(shown)


@pytest.mark.parametrize(
    "command", ["craft 1 a using 1 a", "craft 2 a using 1 b, 3 b", "craft 0 a using 1 b", "craft 1 a using", "get 1 a"]
)
def test_an_invalid_recipe_is_refused(command: str) -> None:
    with pytest.raises(ValueError, match=r"recipe|command"):
        Recipe.parse(command)


def test_a_book_without_goals_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a goal"):
        RecipeBook([])
    with pytest.raises(ValueError, match="no recipe makes gold"):
        RecipeBook(recipes("craft 1 dax using 1 wug"), goals=["gold"])


def test_a_missing_data_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minecraft, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="pip install minecraft-data"):
        minecraft_recipes()
