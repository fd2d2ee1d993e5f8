"""The templates of Weather's questions, each with the calls that answer it."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

from envs.tools.problem import Call, Problem, Template
from envs.tools.weather_database import cities

_MEASURE_NAMES = {"temp": "mean temperature", "rain": "rain", "snow": "snowfall"}


def _random_city(rng: random.Random) -> str:
    return rng.choice(cities()).name


def _random_city_pair(rng: random.Random) -> tuple[str, str]:
    city1, city2 = rng.sample(cities(), 2)
    return city1.name, city2.name


def _random_today(rng: random.Random) -> date:
    return date(2022, 3, 1) + timedelta(days=rng.randrange(600))


def _date_range(first: date, count: int) -> tuple[str, str]:
    return first.isoformat(), (first + timedelta(days=count - 1)).isoformat()


def _locate(call: Call, city: str) -> dict[str, float]:
    coordinates = call(f"I need to know where {city} is.", "get_latitude_longitude", name=city)
    return {"latitude": coordinates["latitude"], "longitude": coordinates["longitude"]}


def _problem(text: str, num_calls: int, solve: Callable[[Call], Any], today: date, user_city: str = "") -> Problem:
    return Problem(text, f"{num_calls} calls", solve, today.isoformat(), user_city)


def extreme_day(rng: random.Random) -> Problem:
    city, today, count = _random_city(rng), _random_today(rng), rng.randrange(3, 8)
    first, last = _date_range(today - timedelta(days=rng.randrange(20, 50)), count)
    warmest = rng.random() < 0.5

    def solve(call: Call) -> str:
        days = call("Now I ask for its temperatures.", "get_historical_temp", **_locate(call, city), start_date=first, end_date=last)
        return str((max if warmest else min)(sorted(days), key=days.__getitem__))

    return _problem(f"Which was the {'warmest' if warmest else 'coldest'} day in {city} from {first} to {last}?", 2, solve, today)


def total_precipitation(rng: random.Random) -> Problem:
    city, today, count, measure = _random_city(rng), _random_today(rng), rng.randrange(3, 8), rng.choice(["rain", "rain", "snow"])
    first, last = _date_range(today - timedelta(days=rng.randrange(20, 50)), count)

    def solve(call: Call) -> float:
        days = call(f"Now I ask for its {measure}.", f"get_historical_{measure}", **_locate(call, city), start_date=first, end_date=last)
        return float(round(sum(days.values()), 1))

    unit = "millimetres" if measure == "rain" else "centimetres"
    return _problem(f"How many {unit} of {measure} fell in {city} from {first} to {last} in all?", 2, solve, today)


def average_temperature(rng: random.Random) -> Problem:
    city, today, count = _random_city(rng), _random_today(rng), rng.randrange(2, 6)
    first, last = _date_range(today - timedelta(days=rng.randrange(20, 50)), count)

    def solve(call: Call) -> float:
        days = call("Now I ask for its temperatures.", "get_historical_temp", **_locate(call, city), start_date=first, end_date=last)
        return float(round(sum(days.values()) / len(days), 2))

    return _problem(f"What was the average temperature in {city} from {first} to {last}?", 2, solve, today)


def current_measure(rng: random.Random) -> Problem:
    city, today, measure = _random_city(rng), _random_today(rng), rng.choice(["temp", "temp", "rain"])

    def solve(call: Call) -> Any:
        day = call("I need today's date.", "get_user_current_date")
        return call("Now I ask for today.", f"get_current_{measure}", **_locate(call, city), current_date=day)

    question = f"What is the {_MEASURE_NAMES[measure]} in {city} today, {today.strftime('%d.%m.%Y')}?"
    return _problem(question, 3, solve, today)


def forecast_at_user_location(rng: random.Random) -> Problem:
    user_city, today, days_ahead = _random_city(rng), _random_today(rng), rng.randrange(1, 8)
    day = (today + timedelta(days=days_ahead)).isoformat()
    measure = rng.choice(["temp", "rain"])

    def solve(call: Call) -> Any:
        city = call("I need to know where the user is.", "get_user_current_location")
        call("I need today's date.", "get_user_current_date")
        place = _locate(call, city)
        days = call("Now I ask for the forecast.", f"get_{measure}_forecast", **place, start_date=day, end_date=day)
        return days[day]

    return _problem(f"What {_MEASURE_NAMES[measure]} is forecast for where I am on {day}?", 4, solve, today, user_city)


def rainy_days(rng: random.Random) -> Problem:
    city, today, count = _random_city(rng), _random_today(rng), rng.randrange(4, 8)
    first, last = _date_range(today + timedelta(days=1), count)

    def solve(call: Call) -> int:
        days = call("Now I ask for the forecast of rain.", "get_rain_forecast", **_locate(call, city), start_date=first, end_date=last)
        return sum(amount > 0 for amount in days.values())

    return _problem(f"On how many days from {first} to {last} is rain forecast in {city}?", 2, solve, today)


def warmer_city(rng: random.Random) -> Problem:
    (city1, city2), today = _random_city_pair(rng), _random_today(rng)
    day = (today - timedelta(days=rng.randrange(5, 60))).isoformat()

    def solve(call: Call) -> str:
        temperatures = []
        for city in (city1, city2):
            place = _locate(call, city)
            days = call(f"Now the temperature in {city}.", "get_historical_temp", **place, start_date=day, end_date=day)
            temperatures.append(days[day])
        return city1 if temperatures[0] >= temperatures[1] else city2

    return _problem(f"Which city was warmer on {day}, {city1} or {city2}?", 4, solve, today)


def worst_air_quality(rng: random.Random) -> Problem:
    city, today, count = _random_city(rng), _random_today(rng), rng.randrange(3, 7)
    first, last = _date_range(today - timedelta(days=rng.randrange(20, 50)), count)

    def solve(call: Call) -> str:
        place = _locate(call, city)
        days = call("Now I ask for its air.", "get_historical_air_quality_index", **place, start_date=first, end_date=last)
        return str(call("What does the worst value mean?", "get_air_quality_level", air_quality_index=max(days.values())))

    return _problem(f"How would the air quality level of the worst day in {city} from {first} to {last} be called?", 3, solve, today)


def distance(rng: random.Random) -> Problem:
    (city1, city2), today = _random_city_pair(rng), _random_today(rng)

    def solve(call: Call) -> Any:
        place1, place2 = _locate(call, city1), _locate(call, city2)
        coordinates = {f"{name}{number}": value for number, place in ((1, place1), (2, place2)) for name, value in place.items()}
        return call("Now I can measure the distance.", "get_distance", **coordinates)

    return _problem(f"How many kilometres are {city1} and {city2} apart?", 3, solve, today)


def elevation_difference(rng: random.Random) -> Problem:
    (city1, city2), today = _random_city_pair(rng), _random_today(rng)

    def solve(call: Call) -> int:
        elevations = [call(f"Now the elevation of {city}.", "get_elevation", **_locate(call, city)) for city in (city1, city2)]
        return abs(int(elevations[0]) - int(elevations[1]))

    return _problem(f"By how many metres do the elevations of {city1} and {city2} differ?", 4, solve, today)


TEMPLATES: tuple[Template, ...] = (
    extreme_day,
    total_precipitation,
    average_temperature,
    current_measure,
    forecast_at_user_location,
    rainy_days,
    warmer_city,
    worst_air_quality,
    distance,
    elevation_difference,
)
