"""The tables of the index of a disk store, statement by statement. An index with any other table is not one of ours."""

from __future__ import annotations

__all__ = ["ROW", "SCHEMA"]

# What the statements of diskcache need. Differences to its own: `Settings` holds the size only, kept by triggers that
# count some bytes per row; NULL is in no index; and files are found by name.
ROW = 256
"""Bytes that a row is taken for, besides its value."""

SCHEMA = {
    "Settings": "CREATE TABLE Settings (key TEXT NOT NULL UNIQUE, value)",
    "Cache": (
        "CREATE TABLE Cache (rowid INTEGER PRIMARY KEY, key BLOB, raw INTEGER, store_time REAL, expire_time REAL,"
        " access_time REAL, access_count INTEGER DEFAULT 0, tag BLOB, size INTEGER DEFAULT 0, mode INTEGER DEFAULT 0,"
        " filename TEXT, value BLOB)"
    ),
    "Cache_key_raw": "CREATE UNIQUE INDEX Cache_key_raw ON Cache(key, raw)",
    "Cache_expire_time": "CREATE INDEX Cache_expire_time ON Cache(expire_time) WHERE expire_time IS NOT NULL",
    "Cache_access_time": "CREATE INDEX Cache_access_time ON Cache(access_time)",
    "Cache_filename": "CREATE INDEX Cache_filename ON Cache(filename) WHERE filename IS NOT NULL",
    "Settings_size_insert": (
        "CREATE TRIGGER Settings_size_insert AFTER INSERT ON Cache FOR EACH ROW BEGIN"
        f" UPDATE Settings SET value = value + NEW.size + {ROW} WHERE key = 'size'; END"
    ),
    "Settings_size_update": (
        "CREATE TRIGGER Settings_size_update AFTER UPDATE OF size ON Cache FOR EACH ROW BEGIN"
        " UPDATE Settings SET value = value + NEW.size - OLD.size WHERE key = 'size'; END"
    ),
    "Settings_size_delete": (
        "CREATE TRIGGER Settings_size_delete AFTER DELETE ON Cache FOR EACH ROW BEGIN"
        f" UPDATE Settings SET value = value - OLD.size - {ROW} WHERE key = 'size'; END"
    ),
}
