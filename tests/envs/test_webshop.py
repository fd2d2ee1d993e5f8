"""WebShop: pages, search, the reward and its parts, and WebShop's own files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from envs.webshop import WebShop
from envs.webshop.catalogue import BadFiles, generated
from envs.webshop.environment import wishes
from envs.webshop.generate import choose
from envs.webshop.goals import Goal, judge, wish
from envs.webshop.shop import Shop, Visit

PRODUCTS = generated(1000)


def started(number: int = 0) -> WebShop:
    env = WebShop()
    env.reset(options={"item_id": f"webshop_{number}"})
    return env


def test_a_larger_shop_begins_with_the_smaller_one() -> None:
    assert generated(1500)[:1000] == PRODUCTS
    assert len({product.asin for product in generated(1500)}) == 1500


def test_a_visit_from_search_to_the_sub_pages_and_back() -> None:
    visit = Visit(Shop(PRODUCTS[:40]), "Find shoes")
    assert visit.text() == "WebShop [SEP] Instruction: [SEP] Find shoes [SEP] Search"
    visit.search("running shoes")
    asin = visit.clickable()[1]
    assert visit.click(asin.lower())
    assert visit.click("Features")
    assert visit.text().startswith("Back to Search [SEP] < Prev [SEP] This ")
    assert visit.click("< Prev")
    assert visit.page == "item"
    value = next(iter(visit.product.options.values()))[0]
    assert visit.click(value)
    assert f"{value} (chosen)" in visit.text()
    assert not visit.click("Add to cart")
    assert visit.click("< Prev")
    assert visit.page == "results"
    assert visit.click("Back to Search")
    assert visit.can_search()


def test_ten_results_a_page_and_fifty_at_most() -> None:
    visit = Visit(Shop(PRODUCTS), "x")
    visit.search("black water resistant free with")
    assert len(visit.results) == 50
    for page in range(1, 6):
        assert visit.text().startswith(f"Page {page} (Total results: 50)")
        assert sum(name.startswith("B") and name[1:].isdigit() for name in visit.clickable()) == 10
        assert visit.click("Next >") == (page < 5)


@pytest.mark.parametrize("words", ["", "!!!", '" OR 1=1 --', "NEAR(", "title:*", "é" * 50])
def test_a_strange_search_finds_nothing_or_something_but_never_breaks(words: str) -> None:
    assert len(Shop(PRODUCTS[:40]).search(words)) <= 40


def test_the_best_purchase_is_worth_1_and_each_part_counts() -> None:
    wanted = PRODUCTS[8]
    options = {name: values[0] for name, values in wanted.options.items()}
    goal = Goal("x", wanted.asin, wanted.attributes[:2], options, wanted.price)
    asked = 2 + len(options) + 1
    assert judge(goal, wanted, wanted, options).reward == 1.0
    assert judge(goal, wanted, wanted, {}).reward == pytest.approx((2 + 1) / asked)
    dear = Goal("x", wanted.asin, wanted.attributes[:2], options, wanted.price - 1)
    assert judge(dear, wanted, wanted, options).reward == pytest.approx((asked - 1) / asked)
    other = Goal("x", wanted.asin, ("made of cheese", wanted.attributes[0]), options, wanted.price)
    assert judge(other, wanted, wanted, options).attributes == 0.5


def test_another_kind_of_thing_is_worth_little_and_a_twin_everything() -> None:
    shoes = [product for product in PRODUCTS if product.kind == "running shoes"]
    tea = next(product for product in PRODUCTS if product.kind == "green tea")
    goal = Goal("x", shoes[0].asin, (), {}, 1000.0)
    assert judge(goal, shoes[0], shoes[1], {}).reward == 1.0
    assert judge(goal, shoes[0], tea, {}).kind in (0.0, 0.1, 0.5)


def test_a_fancy_colour_is_a_colour() -> None:
    wanted = PRODUCTS[8]
    goal = Goal("x", wanted.asin, (), {"color": "navy blue"}, 1000.0)
    assert judge(goal, wanted, wanted, {"color": "deep blue"}).options == 1.0


def test_the_end_tells_the_parts_of_the_reward() -> None:
    env = started()
    observation, _ = env.reset(options={"item_id": "webshop_0"})
    expert = env.expert()
    while not env.done:
        observation, _, _, _, info = env.step(expert.act(observation)[1])
    assert info["reward_parts"] == {"kind": 1.0, "attributes": 1.0, "options": 1.0, "price": 1.0}


def test_what_cannot_be_clicked_or_searched_is_told() -> None:
    env = started()
    assert env.step("click[Buy Now]")[0] == "There is nothing of that name to click. There are: none"
    env.step("search[tea]")
    assert "no search field" in env.step("search[tea]")[0]
    assert "Back to Search" in env.step("click[nothing]")[0]
    assert env.step("buy it")[0] == "That is no action: search[words] or click[what]."


def test_what_can_be_clicked_is_told_in_info() -> None:
    env = started()
    assert [action[:7] for action in env.reset(options={"item_id": "webshop_0"})[1]["available_actions"]] == ["search["]
    assert "click[Back to Search]" in env.step("search[tea]")[4]["available_actions"]


def test_the_wishes_are_those_that_are_chosen_again() -> None:
    again = [wish(next(product for product in PRODUCTS if product.asin == asin), number) for asin, number in choose(300)]
    assert again == list(wishes()[:300])


def write_webshops_files(folder: Path) -> None:
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
    asked = "a non slip trail shoe in red, price lower than 1100.00 dollars"
    human = {"instruction": asked, "instruction_attributes": ["non slip"], "instruction_options": ["red"]}
    (folder / "items_human_ins.json").write_text(json.dumps({"B000": [human]}))


def test_webshops_own_files_are_read(tmp_path: Path) -> None:
    write_webshops_files(tmp_path)
    env = WebShop(folder=tmp_path)
    assert "a non slip trail shoe" in env.reset(options={"item_id": "webshop_0"})[0]
    for action in ("search[trail]", "click[B000]", "click[red]"):
        observation, *_ = env.step(action)
    assert "Price: $1039.50" in observation
    assert env.step("click[Buy Now]")[1] == 1.0


def test_missing_or_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadFiles, match="items_shuffle"):
        WebShop(folder=tmp_path)
    write_webshops_files(tmp_path)
    (tmp_path / "items_shuffle_1000.json").write_text('[{"asin": "B1"}]')
    with pytest.raises(BadFiles, match="name"):
        WebShop(folder=tmp_path)
