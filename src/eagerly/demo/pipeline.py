"""A survey of the airports of the United States: the pipeline that ``eagerly demo`` runs, and an example to read.

All four kinds of task are here: a function, a generator, an async function and an async generator. One of them fails
twice before it works, one takes too long, one is cached, and one saves what it returns. Only the standard library is
used, and nothing leaves this computer.
"""

from __future__ import annotations

import asyncio
import csv
import math
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from importlib import resources
from typing import NamedTuple

from eagerly import Retry, current_task, task
from eagerly.errors import TaskTimeoutError

EARTH_RADIUS_KM = 6371.0
Hemispheres = dict[str, tuple[int, int]]


class Airport(NamedTuple):
    code: str
    name: str
    city: str
    state: str
    latitude: float
    longitude: float

    def __str__(self) -> str:
        where = self.state if self.city in self.name else f"{self.city}, {self.state}"
        return f"{self.name}, {where}"


class Trip(NamedTuple):
    start: Airport
    end: Airport
    km: float

    def __str__(self) -> str:
        return f"{self.start.code} to {self.end.code}: {self.km:,.0f} km"


class Table(NamedTuple):
    airports: list[Airport]
    rows: int
    corrected: int

    def __str__(self) -> str:
        return f"{len(self.airports):,} airports"


class Survey(NamedTuple):
    table: Table
    by_state: list[tuple[str, int]]
    northernmost: Airport
    farthest: list[Trip]
    loneliest: Trip

    def __str__(self) -> str:
        return f"survey of {self.table}"


# Parse: a stream


@task
def read_rows() -> Iterator[dict[str, str]]:
    """The rows of the table, one by one."""
    table = resources.files("eagerly.demo") / "data" / "airports.csv"
    with table.open(encoding="utf-8") as file:
        yield from csv.DictReader(file)


# Clean: a flaky step that is retried, and a function that calls other tasks


@task(retries=Retry(3, delay=0.02, on=ConnectionError))
async def fetch_hemispheres() -> Hemispheres:
    """The signs that latitude and longitude have where the table is wrong about them.

    It stands in for a web service with a bad day: the network is not touched, and the first two attempts are refused on
    purpose, by the number of the attempt.
    """
    call = current_task()
    if call is not None and call.attempt < 3:
        raise ConnectionError("simulated: service is busy")
    return {"GU": (+1, +1), "CQ": (+1, +1), "AS": (-1, -1)}


@task
def load_airports(hemispheres: Hemispheres) -> Table:
    """The airports, without rows that say too little and with the right signs."""
    airports: list[Airport] = []
    rows = corrected = 0
    for row in read_rows():
        rows += 1
        if "NA" in (row["city"], row["state"]):
            continue  # nobody knows where that is
        airport = Airport(
            row["iata"], row["name"], row["city"], row["state"], float(row["latitude"]), float(row["longitude"])
        )
        if airport.state in hemispheres:
            north, east = hemispheres[airport.state]
            airport = airport._replace(
                latitude=math.copysign(airport.latitude, north), longitude=math.copysign(airport.longitude, east)
            )
            corrected += 1
        airports.append(airport)
    return Table(airports, rows, corrected)


# Aggregate: functions, an async stream, async functions that run at the same time


@task(dataset="most_airports.csv")
def count_by_state(airports: Iterable[Airport]) -> list[tuple[str, int]]:
    """The states with most airports; also saved as a file that other programs read."""
    return Counter(airport.state for airport in airports).most_common(5)


@task
async def trips_from(start: Airport, airports: Iterable[Airport]) -> AsyncIterator[Trip]:
    """The way to each airport; lets others run from time to time, as everything async should."""
    for number, end in enumerate(airports):
        if number % 500 == 0:
            await asyncio.sleep(0)
        yield Trip(start, end, distance_km(start, end))


@task(name="farthest_from_{code}")
async def farthest_from(code: str, airports: list[Airport]) -> Trip:
    """The airport that is farthest from the one with this code."""
    start = next(airport for airport in airports if airport.code == code)
    longest = Trip(start, start, 0.0)
    async for trip in trips_from(start, airports):
        longest = max(longest, trip, key=lambda trip: trip.km)
    return longest


@task(timeout=0.1)
def loneliest_by_brute_force(airports: list[Airport]) -> Trip:
    """The airport whose nearest neighbour is farthest: looks at all pairs, some eleven million, and takes too long."""
    return max((nearest(airport, airports) for airport in airports), key=lambda trip: trip.km)


@task
def loneliest_by_latitude(airports: list[Airport]) -> Trip:
    """The same answer, found by looking north and south from each airport, only as far as a nearer one may be."""
    ordered = sorted(airports, key=lambda airport: airport.latitude)
    return max((nearest_in_order(index, ordered) for index in range(len(ordered))), key=lambda trip: trip.km)


@task(cache=True)
def find_loneliest(airports: list[Airport]) -> Trip:
    """The loneliest airport. The simple way has its chance; when its time is up, the clever way is taken.

    This takes longer than all else, and depends on nothing but the airports: it is worth a cache.
    """
    try:
        return loneliest_by_brute_force(airports)
    except TaskTimeoutError:
        return loneliest_by_latitude(airports)


@task
async def survey_airports() -> Survey:
    """The whole pipeline. Calling tasks is all it takes: sync ones at once, async ones with await."""
    hemispheres = await fetch_hemispheres()
    table = load_airports(hemispheres)
    airports = table.airports
    farthest = await asyncio.gather(*(farthest_from(code, airports) for code in ("JFK", "HNL")))
    return Survey(
        table=table,
        by_state=count_by_state(airports),
        northernmost=max(airports, key=lambda airport: airport.latitude),
        farthest=list(farthest),
        loneliest=await asyncio.to_thread(find_loneliest, airports),
    )


# Geometry: plain functions, as not everything needs to be a task


def distance_km(one: Airport, other: Airport) -> float:
    """The great-circle distance, by the haversine formula."""
    south, north = math.radians(one.latitude), math.radians(other.latitude)
    west, east = math.radians(one.longitude), math.radians(other.longitude)
    chord = math.sin((north - south) / 2) ** 2 + math.cos(south) * math.cos(north) * math.sin((east - west) / 2) ** 2
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(min(chord, 1.0)))


def nearest(airport: Airport, airports: Iterable[Airport]) -> Trip:
    """The way to the nearest of the other airports."""
    trips = (Trip(airport, other, distance_km(airport, other)) for other in airports if other is not airport)
    return min(trips, key=lambda trip: trip.km)


def nearest_in_order(index: int, ordered: list[Airport]) -> Trip:
    """As `nearest`, for airports in the order of their latitude."""
    airport = ordered[index]
    shortest = Trip(airport, airport, math.inf)
    for direction in (range(index - 1, -1, -1), range(index + 1, len(ordered))):
        for position in direction:
            other = ordered[position]
            if EARTH_RADIUS_KM * math.radians(abs(other.latitude - airport.latitude)) >= shortest.km:
                break  # from here on, every airport is farther away in latitude alone
            km = distance_km(airport, other)
            if km < shortest.km:
                shortest = Trip(airport, other, km)
    return shortest
