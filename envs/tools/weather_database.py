"""The daily weather of invented cities in an in-memory SQLite database, generated from a seed.

Invariant: the same values on every machine: tenths, drawn by Python's generator with the city's name as its seed.
"""

from __future__ import annotations

import math
import random
import sqlite3
from collections.abc import Iterator
from datetime import date, timedelta
from functools import lru_cache
from typing import NamedTuple

FIRST_DAY, LAST_DAY = date(2022, 1, 1), date(2023, 12, 31)
_NAME_STARTS = "Alm,Bran,Cor,Dun,Elb,Far,Gar,Hol,Ilm,Jor,Kel,Lor,Mar,Nor,Ost,Pel,Rav,Sil,Tor".split(",")
_NAME_ENDS = "berg,dale,ford,haven,mouth,stead".split(",")
_MEASURES = ("temp", "rain", "snow", "aqi")


class City(NamedTuple):
    """Coordinates in degrees, elevation in metres."""

    name: str
    latitude: float
    longitude: float
    elevation: int


@lru_cache(maxsize=None)
def cities() -> tuple[City, ...]:
    """Sixty cities, ordered by name."""
    rng = random.Random("cities")
    names = [start + end for start in _NAME_STARTS for end in _NAME_ENDS]
    rng.shuffle(names)
    return tuple(
        City(name, round(rng.randrange(-5500, 6500) / 100, 2), round(rng.randrange(-17000, 17000) / 100, 2), rng.randrange(2, 2400))
        for name in sorted(names[:60])
    )


@lru_cache(maxsize=None)
def weather_database() -> sqlite3.Connection:
    """Table day(city, date, temp, rain, snow, aqi): degrees Celsius, millimetres, centimetres, air quality index.

    Only read after it is filled; SQLite serialises the readers of several threads.
    """
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    connection.execute("CREATE TABLE day (city TEXT, date TEXT, temp REAL, rain REAL, snow REAL, aqi INTEGER, PRIMARY KEY (city, date))")
    for city in cities():
        connection.executemany("INSERT INTO day VALUES (?, ?, ?, ?, ?, ?)", _daily_rows(*city))
    connection.commit()
    return connection


def _daily_rows(name: str, latitude: float, longitude: float, elevation: int) -> Iterator[tuple[object, ...]]:
    rng = random.Random(f"weather of {name}")
    level, day = rng.randrange(20, 90), FIRST_DAY
    while day <= LAST_DAY:
        season = math.cos((day.timetuple().tm_yday - 196) / 365 * 2 * math.pi) * (1 if latitude >= 0 else -1)
        temp = round(26 - abs(latitude) * 0.45 - elevation / 220 + season * (4 + abs(latitude) * 0.18) + rng.random() * 8 - 4, 1)
        precipitation = round(rng.random() ** 3 * 40, 1) if rng.random() < 0.4 else 0.0
        level = min(240, max(8, level + rng.randrange(-12, 13)))
        yield name, day.isoformat(), temp, precipitation if temp > 1 else 0.0, precipitation if temp <= 1 else 0.0, level
        day += timedelta(days=1)


def daily_values(city: str, measure: str, first_date: str, last_date: str) -> dict[str, float]:
    """A measure by date, both ends included. Raises ValueError for an unknown measure."""
    if measure not in _MEASURES:
        raise ValueError(f"no such measure: {measure}")
    query = f"SELECT date, {measure} FROM day WHERE city = ? AND date BETWEEN ? AND ? ORDER BY date"
    return dict(weather_database().execute(query, (city, first_date, last_date)).fetchall())


def great_circle_km(latitude1: float, longitude1: float, latitude2: float, longitude2: float) -> float:
    """Great-circle distance in kilometres, to a tenth (haversine formula)."""
    phi1, phi2 = math.radians(latitude1), math.radians(latitude2)
    haversine = (
        math.sin((phi2 - phi1) / 2) ** 2 + math.cos(phi1) * math.cos(phi2) * math.sin(math.radians(longitude2 - longitude1) / 2) ** 2
    )
    return round(2 * 6371.0 * math.asin(math.sqrt(min(1.0, max(0.0, haversine)))), 1)  # rounding may leave it just outside 0 to 1
