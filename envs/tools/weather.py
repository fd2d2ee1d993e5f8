"""Weather: questions about temperature, rain, snow, air and distances, answered with tools.

Invariant: the result of a tool depends on its arguments and on the problem's date and user location alone.
"""

from __future__ import annotations

from datetime import date, timedelta
from functools import lru_cache
from typing import Any, ClassVar

from envs.base import Sizes
from envs.tools.base import ToolEnv, ToolError, tool
from envs.tools.problem import Problem, generate_problems
from envs.tools.weather_database import FIRST_DAY, LAST_DAY, City, cities, daily_values, great_circle_km
from envs.tools.weather_problems import TEMPLATES

_FORECAST_DAYS = 14
_MAX_RANGE_DAYS = 31
_AQI_LEVELS = (
    (50, "good"),
    (100, "moderate"),
    (150, "unhealthy for sensitive groups"),
    (200, "unhealthy"),
    (300, "very unhealthy"),
)


class Weather(ToolEnv):
    """Questions about the weather, after AgentBoard's tool-query tasks as AgentGym serves them.

    Observation: first the goal, then the result of each call, as JSON. Actions: one call per round, `name with Action Input: {...}`; the
    tools and their arguments are those of AgentGym's weather environment. Reward: 1 if `finish` gets the right answer, else 0; it ends the
    episode. At most 10 rounds. Instructions: 343 from ten templates, 20 of them eval; difficulty is the number of calls of the solution.
    Temperatures in degrees Celsius, rain in millimetres, snow in centimetres, distances in kilometres.

    Differences from AgentGym's environment:
    - 60 invented cities with two years of invented weather, generated from a seed; AgentGym uses live services, whose answers change.
    - Only `finish` gives an answer; in AgentGym, any tool result that happens to equal the answer counts.
    - Only a call of `finish` ends an episode; in AgentGym, any action that contains the word.
    - Arguments are parsed as JSON or Python literals; in AgentGym, Python's eval runs the model's text.
    - A range has at most 31 days, so that observations stay short.
    """

    name: ClassVar[str] = "weather"
    version: ClassVar[int] = 2
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
        return self.problem.user_city

    @tool
    def get_latitude_longitude(self, name: str) -> dict[str, Any]:
        """where a city is"""
        for city in cities():
            if city.name.lower() == name.strip().lower():
                return {"name": city.name, "latitude": city.latitude, "longitude": city.longitude}
        raise ToolError("There is no city of that name.")

    @tool
    def get_historical_temp(self, latitude: float, longitude: float, start_date: str, end_date: str) -> dict[str, float]:
        """mean temperature of each day"""
        return self._history(latitude, longitude, "temp", start_date, end_date)

    @tool
    def get_historical_rain(self, latitude: float, longitude: float, start_date: str, end_date: str) -> dict[str, float]:
        """rain of each day"""
        return self._history(latitude, longitude, "rain", start_date, end_date)

    @tool
    def get_historical_snow(self, latitude: float, longitude: float, start_date: str, end_date: str) -> dict[str, float]:
        """snowfall of each day"""
        return self._history(latitude, longitude, "snow", start_date, end_date)

    @tool
    def get_temp_forecast(self, latitude: float, longitude: float, start_date: str, end_date: str) -> dict[str, float]:
        """mean temperature of each day to come, two weeks at most"""
        return self._forecast(latitude, longitude, "temp", start_date, end_date)

    @tool
    def get_rain_forecast(self, latitude: float, longitude: float, start_date: str, end_date: str) -> dict[str, float]:
        """rain of each day to come"""
        return self._forecast(latitude, longitude, "rain", start_date, end_date)

    @tool
    def get_snow_forecast(self, latitude: float, longitude: float, start_date: str, end_date: str) -> dict[str, float]:
        """snowfall of each day to come"""
        return self._forecast(latitude, longitude, "snow", start_date, end_date)

    @tool
    def get_current_temp(self, latitude: float, longitude: float, current_date: str) -> float:
        """temperature of today"""
        return self._current(latitude, longitude, "temp", current_date)

    @tool
    def get_current_rain(self, latitude: float, longitude: float, current_date: str) -> float:
        """rain of today"""
        return self._current(latitude, longitude, "rain", current_date)

    @tool
    def get_current_snow(self, latitude: float, longitude: float, current_date: str) -> float:
        """snowfall of today"""
        return self._current(latitude, longitude, "snow", current_date)

    @tool
    def get_air_quality_level(self, air_quality_index: float) -> str:
        """what an air quality index means"""
        return next((level for limit, level in _AQI_LEVELS if air_quality_index <= limit), "hazardous")

    @tool
    def get_current_air_quality_index(self, latitude: float, longitude: float, current_date: str) -> float:
        """air quality index of today"""
        return self._current(latitude, longitude, "aqi", current_date)

    @tool
    def get_historical_air_quality_index(self, latitude: float, longitude: float, start_date: str, end_date: str) -> dict[str, float]:
        """air quality index of each day"""
        return self._history(latitude, longitude, "aqi", start_date, end_date)

    @tool
    def get_elevation(self, latitude: float, longitude: float) -> int:
        """metres above the sea"""
        return _city_at(latitude, longitude).elevation

    @tool
    def get_distance(self, latitude1: float, longitude1: float, latitude2: float, longitude2: float) -> float:
        """kilometres between two places"""
        return great_circle_km(latitude1, longitude1, latitude2, longitude2)

    def _history(self, latitude: float, longitude: float, measure: str, first_date: str, last_date: str) -> dict[str, float]:
        city, (start, end) = _city_at(latitude, longitude).name, _parse_range(first_date, last_date)
        if end > date.fromisoformat(self.problem.today):
            raise ToolError(f"That is in the future: today is {self.problem.today}. Ask for a forecast.")
        return daily_values(city, measure, start.isoformat(), end.isoformat())

    def _forecast(self, latitude: float, longitude: float, measure: str, first_date: str, last_date: str) -> dict[str, float]:
        city, (start, end) = _city_at(latitude, longitude).name, _parse_range(first_date, last_date)
        today = date.fromisoformat(self.problem.today)
        if start <= today or end > today + timedelta(days=_FORECAST_DAYS):
            raise ToolError(f"A forecast covers the {_FORECAST_DAYS} days after today, {self.problem.today}.")
        return daily_values(city, measure, start.isoformat(), end.isoformat())

    def _current(self, latitude: float, longitude: float, measure: str, current_date: str) -> float:
        if current_date.strip() != self.problem.today:
            raise ToolError("That is not today's date; for another day ask for the history or a forecast.")
        return daily_values(_city_at(latitude, longitude).name, measure, self.problem.today, self.problem.today)[self.problem.today]


def _city_at(latitude: float, longitude: float) -> City:
    for city in cities():
        if abs(city.latitude - latitude) <= 0.1 and abs(city.longitude - longitude) <= 0.1:
            return city
    raise ToolError("Nothing is known of that place; get_latitude_longitude gives places that are known.")


def _parse_range(first_date: str, last_date: str) -> tuple[date, date]:
    try:
        start, end = date.fromisoformat(first_date.strip()), date.fromisoformat(last_date.strip())
    except ValueError:
        raise ToolError("A date looks like 2023-05-31.") from None
    if not FIRST_DAY <= start <= end <= LAST_DAY:
        raise ToolError(f"The dates must be in order, between {FIRST_DAY} and {LAST_DAY}.")
    if (end - start).days >= _MAX_RANGE_DAYS:
        raise ToolError(f"At most {_MAX_RANGE_DAYS} days at once.")
    return start, end


@lru_cache(maxsize=None)
def _problems() -> tuple[Problem, ...]:
    return generate_problems(TEMPLATES, Weather.sizes.instructions, "weather problems")
