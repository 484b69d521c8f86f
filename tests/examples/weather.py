"""Workflows that a user could have written; the tests of the command line run them."""

from __future__ import annotations

import asyncio
import enum
from pathlib import Path
from typing import Literal

from eagerly import task, workflow

TEMPERATURES = {"Oslo": [3.5, 4.0, 1.5], "Rome": [18.0, 21.5, 20.5]}


class Unit(enum.Enum):
    """How temperatures are written."""

    CELSIUS = "C"
    FAHRENHEIT = "F"


@task
def readings(city: str) -> list[float]:
    """The temperatures of a city, in degrees Celsius."""
    return TEMPERATURES[city]


@workflow
def report(city: str, unit: Unit = Unit.CELSIUS, *, digits: int = 1, quiet: bool = False) -> str | None:
    """Mean temperature of a city.

    Looks up what was measured and takes the mean; 100% of the readings count.

    Args:
        city: Which city, by its English name.
        unit: How to write the temperature.
        digits: Digits after the decimal point. More than three are
            rarely meaningful.
        quiet: Say nothing.

    Returns:
        The mean, with its unit.
    """
    values = readings(city)
    mean = sum(values) / len(values)
    if unit is Unit.FAHRENHEIT:
        mean = mean * 9 / 5 + 32
    return None if quiet else f"{mean:.{digits}f} {unit.value}"


@workflow(name="compare", description="Compare cities, all at once.")
async def compare_cities(cities: list[str], order: Literal["name", "mean"] = "name") -> dict[str, float]:
    """Mean temperatures of several cities.

    Args:
        cities: Which cities.
        order: By what to sort.
    """

    async def mean(city: str) -> float:
        await asyncio.sleep(0)
        values = readings(city)
        return round(sum(values) / len(values), 2)

    means = dict(zip(cities, await asyncio.gather(*map(mean, cities)), strict=True))
    return dict(sorted(means.items(), key=lambda item: item[0] if order == "name" else item[1]))


@workflow
def export(target: Path, cities: tuple[str, ...] = ("Oslo", "Rome"), limit: int | None = None) -> Path:
    """Write readings to a file.

    Args:
        target: The file.
    """
    target.write_text("".join(f"{city},{value}\n" for city in cities for value in readings(city)[:limit]), "utf-8")
    return target


def not_marked(city: str) -> str:
    """A plain function."""
    return city
