"""Kills writers of a disk store at random moments, for test_cache_disk_failures.py.

Called with a directory, the number of kills and a seed. The writers say which entries are stored, after `put` has
returned, and which they delete, before they do. Writes what was found afterwards as JSON.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import select
import signal
import sys
import warnings
from pathlib import Path

from eagerly.cache._disk import DiskStore

WRITERS = 3
SHARED = 5  # keys that all writers replace all the time


def key(number: int) -> bytes:
    return hashlib.sha1(b"%d" % number).digest()


def content(number: int, version: int) -> bytes:
    """What a key may hold: any version of its own, and whole."""
    size = (50, 900, 33_000, 200_000)[(number + version) % 4]
    block = hashlib.sha256(b"%d %d" % (number, version)).digest()
    return b"%d:" % version + block * (size // 32)


def is_whole(number: int, found: bytes) -> bool:
    return found == content(number, int(found.partition(b":")[0]))


def write(path: str, start: int, pipe: int) -> None:
    store = DiskStore(path)
    version = start
    while True:
        version += 1
        shared = version % SHARED
        store.put(key(shared), [content(shared, version)])
        own = start + version
        store.put(key(own), [content(own, 0)[:20], content(own, 0)[20:]])
        os.write(pipe, own.to_bytes(8, "big"))
        if version % 7 == 0:
            os.write(pipe, (own | 1 << 62).to_bytes(8, "big"))
            store.delete(key(own))


def main(path: str, kills: int, seed: int) -> dict[str, int]:
    rng = random.Random(seed)
    stored: set[int] = set()
    corrupt = lost = 0
    start = 1000
    reader = DiskStore(path)
    live: dict[int, int] = {}
    done = 0
    while done < kills or live:
        while len(live) < WRITERS and done + len(live) < kills:
            start += 1_000_000
            reading, writing = os.pipe()
            pid = os.fork()
            if not pid:
                os.close(reading)
                write(path, start, writing)
            os.close(writing)
            live[pid] = reading
        # Not a synchronisation: the kill is to hit any moment.
        select.select([], [], [], rng.uniform(0.0, 0.02))
        pid = rng.choice(sorted(live))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        done += 1
        with os.fdopen(live.pop(pid), "rb") as said:
            said_all = said.read()
        for at in range(0, len(said_all) - 7, 8):
            number = int.from_bytes(said_all[at : at + 8], "big")
            if number >> 62:
                stored.discard(number & ~(1 << 62))
            else:
                stored.add(number)
        for shared in range(SHARED):
            found = reader.get(key(shared))
            corrupt += found is not None and not is_whole(shared, bytes(found))
    for number in stored:
        found = reader.get(key(number))
        if found is None:
            lost += 1
        else:
            corrupt += not is_whole(number, bytes(found))
    reader.close()
    fresh = DiskStore(path)
    fresh.put(key(0), [b"small"])
    rows = {entry.key: entry for entry in fresh.entries()}
    orphans = 0
    files = list(Path(path).glob("??/*"))
    for file in files:
        name = file.parent.name + file.name.removesuffix(".value")
        orphans += not name.isalnum() or bytes.fromhex(name) not in rows
    orphans += sum(fresh.get(each) is None for each in rows)
    large = sum(entry.size > 32 * 1024 for entry in rows.values())
    orphans += abs(large - len(files))
    fresh.close()
    return {"kills": done, "stored": len(stored), "corrupt": corrupt, "lost": lost, "orphans": orphans}


if __name__ == "__main__":
    warnings.simplefilter("error")
    json.dump(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])), sys.stdout)
