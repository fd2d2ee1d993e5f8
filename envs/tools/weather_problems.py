"""The templates of Weather's questions: what is asked, and the calls that answer it."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

from envs.tools.base import Problem
from envs.tools.weather_store import cities

_WORDS = {"temp": "mean temperature", "rain": "rain", "snow": "snowfall"}


def _city(draw: random.Random) -> str:
    return draw.choice(cities())[0]


def _two_cities(draw: random.Random) -> tuple[str, str]:
    one, other = draw.sample(cities(), 2)
    return one[0], other[0]


def _today(draw: random.Random) -> date:
    return date(2022, 3, 1) + timedelta(days=draw.randrange(600))


def _days(first: date, count: int) -> tuple[str, str]:
    return first.isoformat(), (first + timedelta(days=count - 1)).isoformat()


def _place(call: Callable[..., Any], city: str) -> dict[str, float]:
    found = call(f"I need to know where {city} is.", "get_latitude_longitude", name=city)
    return {"latitude": found["latitude"], "longitude": found["longitude"]}


def _problem(text: str, calls: int, solve: Callable[[Callable[..., Any]], Any], today: date, home: str = "") -> Problem:
    return Problem(text, f"{calls} calls", solve, today.isoformat(), home)


def extreme_day(draw: random.Random) -> Problem:
    city, today, count = _city(draw), _today(draw), draw.randrange(3, 8)
    first, last = _days(today - timedelta(days=draw.randrange(20, 50)), count)
    most = draw.random() < 0.5

    def solve(call: Callable[..., Any]) -> str:
        days = call("Now I ask for its temperatures.", "get_historical_temp", **_place(call, city), start_date=first, end_date=last)
        return str((max if most else min)(sorted(days), key=days.__getitem__))

    return _problem(f"Which was the {'warmest' if most else 'coldest'} day in {city} from {first} to {last}?", 2, solve, today)


def total(draw: random.Random) -> Problem:
    city, today, count, kind = _city(draw), _today(draw), draw.randrange(3, 8), draw.choice(["rain", "rain", "snow"])
    first, last = _days(today - timedelta(days=draw.randrange(20, 50)), count)

    def solve(call: Callable[..., Any]) -> float:
        days = call(f"Now I ask for its {kind}.", f"get_historical_{kind}", **_place(call, city), start_date=first, end_date=last)
        return float(round(sum(days.values()), 1))

    unit = "millimetres" if kind == "rain" else "centimetres"
    return _problem(f"How many {unit} of {kind} fell in {city} from {first} to {last} in all?", 2, solve, today)


def average(draw: random.Random) -> Problem:
    city, today, count = _city(draw), _today(draw), draw.randrange(2, 6)
    first, last = _days(today - timedelta(days=draw.randrange(20, 50)), count)

    def solve(call: Callable[..., Any]) -> float:
        days = call("Now I ask for its temperatures.", "get_historical_temp", **_place(call, city), start_date=first, end_date=last)
        return float(round(sum(days.values()) / len(days), 2))

    return _problem(f"What was the average temperature in {city} from {first} to {last}?", 2, solve, today)


def now(draw: random.Random) -> Problem:
    city, today, kind = _city(draw), _today(draw), draw.choice(["temp", "temp", "rain"])

    def solve(call: Callable[..., Any]) -> Any:
        day = call("I need today's date.", "get_user_current_date")
        return call("Now I ask for today.", f"get_current_{kind}", **_place(call, city), current_date=day)

    asked = f"What is the {_WORDS[kind]} in {city} today, {today.strftime('%d.%m.%Y')}?"
    return _problem(asked, 3, solve, today)


def at_home(draw: random.Random) -> Problem:
    home, today, ahead = _city(draw), _today(draw), draw.randrange(1, 8)
    day = (today + timedelta(days=ahead)).isoformat()
    kind = draw.choice(["temp", "rain"])

    def solve(call: Callable[..., Any]) -> Any:
        city = call("I need to know where the user is.", "get_user_current_location")
        call("I need today's date.", "get_user_current_date")
        place = _place(call, city)
        days = call("Now I ask for the forecast.", f"get_{kind}_forecast", **place, start_date=day, end_date=day)
        return days[day]

    return _problem(f"What {_WORDS[kind]} is forecast for where I am on {day}?", 4, solve, today, home)


def rainy_days(draw: random.Random) -> Problem:
    city, today, count = _city(draw), _today(draw), draw.randrange(4, 8)
    first, last = _days(today + timedelta(days=1), count)

    def solve(call: Callable[..., Any]) -> int:
        days = call("Now I ask for the forecast of rain.", "get_rain_forecast", **_place(call, city), start_date=first, end_date=last)
        return sum(amount > 0 for amount in days.values())

    return _problem(f"On how many days from {first} to {last} is rain forecast in {city}?", 2, solve, today)


def warmer(draw: random.Random) -> Problem:
    (one, other), today = _two_cities(draw), _today(draw)
    day = (today - timedelta(days=draw.randrange(5, 60))).isoformat()

    def solve(call: Callable[..., Any]) -> str:
        temps = []
        for city in (one, other):
            place = _place(call, city)
            temps.append(call(f"Now the temperature in {city}.", "get_historical_temp", **place, start_date=day, end_date=day)[day])
        return one if temps[0] >= temps[1] else other

    return _problem(f"Which city was warmer on {day}, {one} or {other}?", 4, solve, today)


def air(draw: random.Random) -> Problem:
    city, today, count = _city(draw), _today(draw), draw.randrange(3, 7)
    first, last = _days(today - timedelta(days=draw.randrange(20, 50)), count)

    def solve(call: Callable[..., Any]) -> str:
        place = _place(call, city)
        days = call("Now I ask for its air.", "get_historical_air_quality_index", **place, start_date=first, end_date=last)
        return str(call("What does the worst value mean?", "get_air_quality_level", air_quality_index=max(days.values())))

    return _problem(f"How would the air quality level of the worst day in {city} from {first} to {last} be called?", 3, solve, today)


def apart(draw: random.Random) -> Problem:
    (one, other), today = _two_cities(draw), _today(draw)

    def solve(call: Callable[..., Any]) -> Any:
        here, there = _place(call, one), _place(call, other)
        ends = {f"{name}{number}": value for number, place in ((1, here), (2, there)) for name, value in place.items()}
        return call("Now I can measure the distance.", "get_distance", **ends)

    return _problem(f"How many kilometres are {one} and {other} apart?", 3, solve, today)


def higher(draw: random.Random) -> Problem:
    (one, other), today = _two_cities(draw), _today(draw)

    def solve(call: Callable[..., Any]) -> int:
        heights = [call(f"Now the elevation of {city}.", "get_elevation", **_place(call, city)) for city in (one, other)]
        return abs(int(heights[0]) - int(heights[1]))

    return _problem(f"By how many metres do the elevations of {one} and {other} differ?", 4, solve, today)


TEMPLATES: tuple[Callable[[random.Random], Problem], ...] = (
    extreme_day,
    total,
    average,
    now,
    at_home,
    rainy_days,
    warmer,
    air,
    apart,
    higher,
)
