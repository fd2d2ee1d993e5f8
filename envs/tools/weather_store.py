"""The weather of invented cities, day by day, in a SQLite database in memory that is made from a seed.

Invariant: the same figures on every machine: whole tenths, drawn by Python's own generator from the city's name.
"""

from __future__ import annotations

import math
import random
import sqlite3
from collections.abc import Iterator
from datetime import date, timedelta
from functools import lru_cache

FIRST, LAST = date(2022, 1, 1), date(2023, 12, 31)
_HEADS = "Alm,Bran,Cor,Dun,Elb,Far,Gar,Hol,Ilm,Jor,Kel,Lor,Mar,Nor,Ost,Pel,Rav,Sil,Tor".split(",")
_TAILS = "berg,dale,ford,haven,mouth,stead".split(",")
_KINDS = ("temp", "rain", "snow", "aqi")


@lru_cache(maxsize=None)
def cities() -> tuple[tuple[str, float, float, int], ...]:
    """(name, latitude, longitude, elevation in metres) of sixty cities."""
    draw = random.Random("cities")
    names = [head + tail for head in _HEADS for tail in _TAILS]
    draw.shuffle(names)
    return tuple(
        (name, round(draw.randrange(-5500, 6500) / 100, 2), round(draw.randrange(-17000, 17000) / 100, 2), draw.randrange(2, 2400))
        for name in sorted(names[:60])
    )


@lru_cache(maxsize=None)
def database() -> sqlite3.Connection:
    """Table day(city, date, temp, rain, snow, aqi), only read after it is made; SQLite serialises readers of several threads."""
    found = sqlite3.connect(":memory:", check_same_thread=False)
    found.execute("CREATE TABLE day (city TEXT, date TEXT, temp REAL, rain REAL, snow REAL, aqi INTEGER, PRIMARY KEY (city, date))")
    for city in cities():
        found.executemany("INSERT INTO day VALUES (?, ?, ?, ?, ?, ?)", _days(*city))
    found.commit()
    return found


def _days(name: str, latitude: float, longitude: float, elevation: int) -> Iterator[tuple[object, ...]]:
    draw = random.Random(f"weather of {name}")
    level, day = draw.randrange(20, 90), FIRST
    while day <= LAST:
        season = math.cos((day.timetuple().tm_yday - 196) / 365 * 2 * math.pi) * (1 if latitude >= 0 else -1)
        temp = round(26 - abs(latitude) * 0.45 - elevation / 220 + season * (4 + abs(latitude) * 0.18) + draw.random() * 8 - 4, 1)
        wet = round(draw.random() ** 3 * 40, 1) if draw.random() < 0.4 else 0.0
        level = min(240, max(8, level + draw.randrange(-12, 13)))
        yield name, day.isoformat(), temp, wet if temp > 1 else 0.0, wet if temp <= 1 else 0.0, level
        day += timedelta(days=1)


def series(city: str, kind: str, first: str, last: str) -> dict[str, float]:
    """A figure by date, both ends included."""
    if kind not in _KINDS:
        raise ValueError(f"no such figure: {kind}")
    asked = f"SELECT date, {kind} FROM day WHERE city = ? AND date BETWEEN ? AND ? ORDER BY date"
    return dict(database().execute(asked, (city, first, last)).fetchall())


def kilometres(latitude1: float, longitude1: float, latitude2: float, longitude2: float) -> float:
    """Great-circle distance, to a tenth."""
    one, two = math.radians(latitude1), math.radians(latitude2)
    half = math.sin((two - one) / 2) ** 2 + math.cos(one) * math.cos(two) * math.sin(math.radians(longitude2 - longitude1) / 2) ** 2
    return round(2 * 6371.0 * math.asin(min(1.0, math.sqrt(half))), 1)
