"""Weather: questions about temperature, rain, snow, air and distances, answered with tools.

Invariant: what a tool gives depends on its arguments and the problem's date and place alone.
"""

from __future__ import annotations

import random
from datetime import date, timedelta
from functools import lru_cache
from typing import Any, ClassVar

from envs.base import Sizes
from envs.tools.base import Problem, ToolEnv, ToolError, tool
from envs.tools.weather_problems import TEMPLATES
from envs.tools.weather_store import FIRST, LAST, cities, kilometres, series

_FORECAST_DAYS = 14
_LONGEST_RANGE = 31
_LEVELS = ((50, "good"), (100, "moderate"), (150, "unhealthy for sensitive groups"), (200, "unhealthy"), (300, "very unhealthy"))


class Weather(ToolEnv):
    """Questions about the weather, after AgentBoard's tool-query tasks as AgentGym serves them.

    Observation: the goal first, then what each tool gave, as JSON. Actions: one call a round, `name with Action Input: {...}`; the tools
    and their arguments are those of AgentGym's weather environment. Reward: 1 when `finish` is given the right answer, else 0; it ends the
    episode. At most 10 rounds. Instructions: 343 from ten templates, 20 of them eval; difficulty is the number of calls that they take.
    Temperatures in degrees Celsius, rain in millimetres, snow in centimetres, distances in kilometres.

    Where it differs from AgentGym's, and why:
    - Sixty invented cities with two years of invented weather, made from a seed; there, live services, whose answers change.
    - The answer counts when it is given with `finish`; there, any tool's result that happens to equal it counts.
    - Only the call of `finish` ends an episode; there, any action in which the word occurs.
    - Arguments are parsed as JSON or Python literals; there, Python's eval runs what the model wrote.
    - Ranges have at most 31 days, so that an observation stays short.
    """

    name: ClassVar[str] = "weather"
    version: ClassVar[int] = 1
    task_types: ClassVar[tuple[str, ...]] = ("weather",)
    sizes: ClassVar[Sizes] = Sizes(instructions=343, eval=20, agent_traj=160, agent_traj_l=311)
    max_rounds: ClassVar[int] = 10
    intro: ClassVar[str] = "Answer the question about the weather with the tools. Dates look like 2023-05-31."

    @classmethod
    def problems(cls) -> tuple[Problem, ...]:
        return _problems()

    @tool
    def get_user_current_date(self) -> str:
        """today's date"""
        return self.problem.today

    @tool
    def get_user_current_location(self) -> str:
        """the city the user is in"""
        return self.problem.home

    @tool
    def get_latitude_longitude(self, name: str) -> dict[str, Any]:
        """where a city is"""
        for city, latitude, longitude, _ in cities():
            if city.lower() == name.strip().lower():
                return {"name": city, "latitude": latitude, "longitude": longitude}
        raise ToolError("There is no city of that name.")

    @tool
    def get_historical_temp(self, latitude: float, longitude: float, start_date: str, end_date: str) -> dict[str, float]:
        """mean temperature of each day"""
        return self._past(latitude, longitude, "temp", start_date, end_date)

    @tool
    def get_historical_rain(self, latitude: float, longitude: float, start_date: str, end_date: str) -> dict[str, float]:
        """rain of each day"""
        return self._past(latitude, longitude, "rain", start_date, end_date)

    @tool
    def get_historical_snow(self, latitude: float, longitude: float, start_date: str, end_date: str) -> dict[str, float]:
        """snowfall of each day"""
        return self._past(latitude, longitude, "snow", start_date, end_date)

    @tool
    def get_temp_forecast(self, latitude: float, longitude: float, start_date: str, end_date: str) -> dict[str, float]:
        """mean temperature of each day to come, two weeks at most"""
        return self._to_come(latitude, longitude, "temp", start_date, end_date)

    @tool
    def get_rain_forecast(self, latitude: float, longitude: float, start_date: str, end_date: str) -> dict[str, float]:
        """rain of each day to come"""
        return self._to_come(latitude, longitude, "rain", start_date, end_date)

    @tool
    def get_snow_forecast(self, latitude: float, longitude: float, start_date: str, end_date: str) -> dict[str, float]:
        """snowfall of each day to come"""
        return self._to_come(latitude, longitude, "snow", start_date, end_date)

    @tool
    def get_current_temp(self, latitude: float, longitude: float, current_date: str) -> float:
        """temperature of today"""
        return self._now(latitude, longitude, "temp", current_date)

    @tool
    def get_current_rain(self, latitude: float, longitude: float, current_date: str) -> float:
        """rain of today"""
        return self._now(latitude, longitude, "rain", current_date)

    @tool
    def get_current_snow(self, latitude: float, longitude: float, current_date: str) -> float:
        """snowfall of today"""
        return self._now(latitude, longitude, "snow", current_date)

    @tool
    def get_air_quality_level(self, air_quality_index: float) -> str:
        """what an air quality index means"""
        return next((level for most, level in _LEVELS if air_quality_index <= most), "hazardous")

    @tool
    def get_current_air_quality_index(self, latitude: float, longitude: float, current_date: str) -> float:
        """air quality index of today"""
        return self._now(latitude, longitude, "aqi", current_date)

    @tool
    def get_historical_air_quality_index(self, latitude: float, longitude: float, start_date: str, end_date: str) -> dict[str, float]:
        """air quality index of each day"""
        return self._past(latitude, longitude, "aqi", start_date, end_date)

    @tool
    def get_elevation(self, latitude: float, longitude: float) -> int:
        """metres above the sea"""
        return _city_at(latitude, longitude)[3]

    @tool
    def get_distance(self, latitude1: float, longitude1: float, latitude2: float, longitude2: float) -> float:
        """kilometres between two places"""
        return kilometres(latitude1, longitude1, latitude2, longitude2)

    def _past(self, latitude: float, longitude: float, kind: str, first: str, last: str) -> dict[str, float]:
        city, (start, end) = _city_at(latitude, longitude)[0], _range(first, last)
        if end > date.fromisoformat(self.problem.today):
            raise ToolError(f"That is in the future: today is {self.problem.today}. Ask for a forecast.")
        return series(city, kind, start.isoformat(), end.isoformat())

    def _to_come(self, latitude: float, longitude: float, kind: str, first: str, last: str) -> dict[str, float]:
        city, (start, end), today = _city_at(latitude, longitude)[0], _range(first, last), date.fromisoformat(self.problem.today)
        if start <= today or end > today + timedelta(days=_FORECAST_DAYS):
            raise ToolError(f"A forecast covers the {_FORECAST_DAYS} days after today, {self.problem.today}.")
        return series(city, kind, start.isoformat(), end.isoformat())

    def _now(self, latitude: float, longitude: float, kind: str, current_date: str) -> float:
        if current_date.strip() != self.problem.today:
            raise ToolError("That is not today's date; for another day ask for the history or a forecast.")
        return series(_city_at(latitude, longitude)[0], kind, self.problem.today, self.problem.today)[self.problem.today]


def _city_at(latitude: float, longitude: float) -> tuple[str, float, float, int]:
    for city in cities():
        if abs(city[1] - latitude) <= 0.1 and abs(city[2] - longitude) <= 0.1:
            return city
    raise ToolError("Nothing is known of that place; get_latitude_longitude gives places that are known.")


def _range(first: str, last: str) -> tuple[date, date]:
    try:
        start, end = date.fromisoformat(first.strip()), date.fromisoformat(last.strip())
    except ValueError:
        raise ToolError("A date looks like 2023-05-31.") from None
    if not FIRST <= start <= end <= LAST:
        raise ToolError(f"The dates must be in order, between {FIRST} and {LAST}.")
    if (end - start).days >= _LONGEST_RANGE:
        raise ToolError(f"At most {_LONGEST_RANGE} days at once.")
    return start, end


@lru_cache(maxsize=None)
def _problems() -> tuple[Problem, ...]:
    draw = random.Random("weather problems")
    found: dict[str, Problem] = {}
    while len(found) < Weather.sizes.instructions:
        for template in TEMPLATES:
            problem = template(draw)
            found.setdefault(problem.text, problem)
    return tuple(found.values())[: Weather.sizes.instructions]
