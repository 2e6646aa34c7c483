"""Floor: a bare SQLite table, each change fsynced, looked at every 2 ms."""

import json
import os
import sqlite3
import time
from functools import cache
from pathlib import Path

from benchmarks.peers import effects

WORKER = ["benchmarks.peers.queues.sqlite_table"]

_SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE IF NOT EXISTS jobs (id INTEGER PRIMARY KEY, body TEXT, state INTEGER);
CREATE INDEX IF NOT EXISTS waiting ON jobs (id) WHERE state = 0;
"""


@cache
def _database() -> sqlite3.Connection:
    path = Path(os.environ["PEERS_FOLDER"]) / "floor.sqlite"
    connection = sqlite3.connect(path, isolation_level=None, timeout=60)
    connection.executescript(_SCHEMA)
    return connection


def submit(number: int, payload: str) -> None:
    body = json.dumps([number, payload])
    _database().execute("INSERT INTO jobs (body, state) VALUES (?, 0)", (body,))


def held() -> int:
    (count,) = _database().execute("SELECT count(*) FROM jobs WHERE state < 2").fetchone()
    return int(count)


def main() -> None:
    """Work for ever, first on what a killed worker left."""
    database = _database()
    database.execute("UPDATE jobs SET state = 0 WHERE state = 1")
    while True:
        job = database.execute(
            "UPDATE jobs SET state = 1 WHERE id ="
            " (SELECT id FROM jobs WHERE state = 0 ORDER BY id LIMIT 1) RETURNING id, body"
        ).fetchone()
        if job is None:
            time.sleep(0.002)
            continue
        effects.work(*json.loads(job[1]))
        database.execute("UPDATE jobs SET state = 2 WHERE id = ?", (job[0],))


if __name__ == "__main__":
    main()
