"""WebShop: pages, search, the reward and its parts, and WebShop's own files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from envs.webshop import WebShop
from envs.webshop.generate import generate_goals
from envs.webshop.goals import Goal, generate_goal, shipped_goals
from envs.webshop.pages import ShoppingSession
from envs.webshop.products import InvalidWebShopFiles, generate_products
from envs.webshop.reward import purchase_reward
from envs.webshop.search import Shop

PRODUCTS = generate_products(1000)


def start(number: int = 0) -> WebShop:
    env = WebShop()
    env.reset(options={"item_id": f"webshop_{number}"})
    return env


def test_a_larger_shop_starts_with_the_products_of_a_smaller_one() -> None:
    assert generate_products(1500)[:1000] == PRODUCTS
    assert len({product.asin for product in generate_products(1500)}) == 1500


def test_navigation_from_search_to_the_sub_pages_and_back() -> None:
    session = ShoppingSession(Shop(PRODUCTS[:40]), "Find shoes")
    assert session.text() == "WebShop [SEP] Instruction: [SEP] Find shoes [SEP] Search"
    session.search("running shoes")
    asin = session.clickable()[1]
    assert session.click(asin.lower())
    assert session.click("Features")
    assert session.text().startswith("Back to Search [SEP] < Prev [SEP] This ")
    assert session.click("< Prev")
    assert session.page == "item"
    value = next(iter(session.product.options.values()))[0]
    assert session.click(value)
    assert f"{value} (chosen)" in session.text()
    assert not session.click("Add to cart")
    assert session.click("< Prev")
    assert session.page == "results"
    assert session.click("Back to Search")
    assert session.can_search()


def test_ten_results_per_page_and_at_most_fifty() -> None:
    session = ShoppingSession(Shop(PRODUCTS), "x")
    session.search("black water resistant free with")
    assert len(session.results) == 50
    for page in range(1, 6):
        assert session.text().startswith(f"Page {page} (Total results: 50)")
        assert sum(name.startswith("B") and name[1:].isdigit() for name in session.clickable()) == 10
        assert session.click("Next >") == (page < 5)


@pytest.mark.parametrize("words", ["", "!!!", '" OR 1=1 --', "NEAR(", "title:*", "é" * 50])
def test_no_search_query_raises(words: str) -> None:
    assert len(Shop(PRODUCTS[:40]).search(words)) <= 40


def test_a_perfect_purchase_is_worth_1_and_each_part_counts() -> None:
    target = PRODUCTS[8]
    options = {name: values[0] for name, values in target.options.items()}
    goal = Goal("x", target.asin, target.attributes[:2], options, target.price)
    num_requirements = 2 + len(options) + 1
    assert purchase_reward(goal, target, target, options).reward == 1.0
    assert purchase_reward(goal, target, target, {}).reward == pytest.approx((2 + 1) / num_requirements)
    too_expensive = Goal("x", target.asin, target.attributes[:2], options, target.price - 1)
    assert purchase_reward(too_expensive, target, target, options).reward == pytest.approx((num_requirements - 1) / num_requirements)
    half_matching = Goal("x", target.asin, ("made of cheese", target.attributes[0]), options, target.price)
    assert purchase_reward(half_matching, target, target, options).attributes == 0.5


def test_a_product_of_another_kind_is_worth_little_and_one_of_the_same_kind_everything() -> None:
    shoes = [product for product in PRODUCTS if product.kind == "running shoes"]
    tea = next(product for product in PRODUCTS if product.kind == "green tea")
    goal = Goal("x", shoes[0].asin, (), {}, 1000.0)
    assert purchase_reward(goal, shoes[0], shoes[1], {}).reward == 1.0
    assert purchase_reward(goal, shoes[0], tea, {}).kind in (0.0, 0.1, 0.5)


def test_a_compound_colour_matches_its_basic_colour() -> None:
    target = PRODUCTS[8]
    goal = Goal("x", target.asin, (), {"color": "navy blue"}, 1000.0)
    assert purchase_reward(goal, target, target, {"color": "deep blue"}).options == 1.0


def test_the_last_step_returns_the_parts_of_the_reward() -> None:
    env = start()
    observation, _ = env.reset(options={"item_id": "webshop_0"})
    expert = env.expert()
    while not env.done:
        observation, _, _, _, info = env.step(expert.act(observation)[1])
    assert info["reward_parts"] == {"kind": 1.0, "attributes": 1.0, "options": 1.0, "price": 1.0}


def test_an_impossible_click_or_search_is_answered_with_an_explanation() -> None:
    env = start()
    assert env.step("click[Buy Now]")[0] == "There is nothing of that name to click. There are: none"
    env.step("search[tea]")
    assert "no search field" in env.step("search[tea]")[0]
    assert "Back to Search" in env.step("click[nothing]")[0]
    assert env.step("buy it")[0] == "That is no action: search[words] or click[what]."


def test_info_lists_the_available_actions() -> None:
    env = start()
    assert [action[:7] for action in env.reset(options={"item_id": "webshop_0"})[1]["available_actions"]] == ["search["]
    assert "click[Back to Search]" in env.step("search[tea]")[4]["available_actions"]


def test_the_shipped_goals_are_those_that_are_generated() -> None:
    regenerated = [
        generate_goal(next(product for product in PRODUCTS if product.asin == asin), number) for asin, number in generate_goals(300)
    ]
    assert regenerated == list(shipped_goals()[:300])


def write_webshop_files(folder: Path) -> None:
    item = {
        "asin": "B000",
        "name": "Trail shoe, light",
        "query": "trail shoes",
        "product_category": "Clothing › Shoes › Trail",
        "pricing": "$1,039.50$50.00",
        "customization_options": {"color": [{"value": "Red"}, {"value": "Blue"}], "size": None},
        "full_description": "A shoe.",
        "small_description": ["non slip sole"],
    }
    (folder / "items_shuffle_1000.json").write_text(json.dumps([item]))
    (folder / "items_ins_v2_1000.json").write_text(json.dumps({"B000": {"attributes": ["non slip"]}}))
    instruction = "a non slip trail shoe in red, price lower than 1100.00 dollars"
    human = {"instruction": instruction, "instruction_attributes": ["non slip"], "instruction_options": ["red"]}
    (folder / "items_human_ins.json").write_text(json.dumps({"B000": [human]}))


def test_webshops_own_files_can_be_read(tmp_path: Path) -> None:
    write_webshop_files(tmp_path)
    env = WebShop(folder=tmp_path)
    assert "a non slip trail shoe" in env.reset(options={"item_id": "webshop_0"})[0]
    for action in ("search[trail]", "click[B000]", "click[red]"):
        observation, *_ = env.step(action)
    assert "Price: $1039.50" in observation
    assert env.step("click[Buy Now]")[1] == 1.0


def test_an_error_about_missing_or_broken_files_names_them(tmp_path: Path) -> None:
    with pytest.raises(InvalidWebShopFiles, match="items_shuffle"):
        WebShop(folder=tmp_path)
    write_webshop_files(tmp_path)
    (tmp_path / "items_shuffle_1000.json").write_text('[{"asin": "B1"}]')
    with pytest.raises(InvalidWebShopFiles, match="name"):
        WebShop(folder=tmp_path)
