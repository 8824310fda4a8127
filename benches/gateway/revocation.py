#!/usr/bin/env python3
"""How soon another replica refuses what was revoked, and how long a mirror takes to begin.

Enforcement: two replicas; a session is ended at one, and the other is asked again and again from the acknowledgement on until it
refuses. Loading: a million revocations are in SQL; a mirror is started, once beside a Redis that has them and once beside an
empty one, and timed from the start of the process to its `/readyz`.
"""

import argparse
import json
import secrets
import sqlite3
import subprocess
import sys
import time
import uuid

import cpu
from lab import Failed, Lab, main, require
from replicas import Postgres, Programs, Site, add_options, keep, machine

# Milliseconds from the acknowledgement to the first refusal, at the median.
ENFORCED_MS = 5.0
# Seconds beyond what an empty mirror takes, and bytes beyond what it holds.
LOADED_SECS = 3.0
LOADED_MB = 40.0
LIFE_SECS = 3600


def enforcement(site, database, check, trials):
    """The distribution in one mode."""
    replicas = [site.replica(database, check)[0] for _ in range(2)]
    stage = site.stage(replicas, site.sign_in(trials))
    done = subprocess.run([site.programs.load, "enforce", stage, str(trials)], capture_output=True, text=True)
    for replica in replicas:
        site.lab.stop(replica.process)
    if done.returncode != 0:
        raise Failed(f"{check}: {done.stderr.strip()}")
    return {"mode": check, "machine": machine(), **json.loads(done.stdout)}


def fill_sqlite(path, records):
    """Records of sessions, which have expiries over an hour; in the order of their ends, as in life."""
    now = int(time.time() * 1000)
    rows = (
        (secrets.token_bytes(32), "session", str(uuid.uuid4()), now + 600_000 + LIFE_SECS * 1000 * number // records)
        for number in range(records)
    )
    with sqlite3.connect(path) as connection:
        statement = "INSERT INTO revocations (fingerprint, kind, session_id, expires_at) VALUES (?, ?, ?, ?)"
        connection.executemany(statement, rows)
    connection.close()


def fill_postgres(postgres, database, records):
    """The same."""
    postgres.statement(
        database,
        "INSERT INTO revocations (fingerprint, kind, session_id, expires_at) "
        "SELECT sha256(n::text::bytea), 'session', gen_random_uuid()::text, "
        f"(extract(epoch from now()) * 1000)::bigint + 600000 + {LIFE_SECS * 1000}::bigint * n / {records} "
        f"FROM generate_series(1, {records}) AS n",
    )


def started(site, database, check="mirror"):
    """Starts a gateway: how long until it was ready, how large it was at its largest and is, and how many records it has."""
    replica, took = site.replica(database, check, wait=600)
    figures = {
        "seconds": round(took, 2),
        "peak_mb": round(cpu.peak_kib(replica.process.pid) * 1024 / 1e6, 1),
        "resident_mb": round((cpu.settled_rss_kib(replica.process.pid, 256) or cpu.rss_kib(replica.process.pid)) * 1024 / 1e6, 1),
        "records": int(replica.metric("portcullis_revocation_mirror_records")),
    }
    site.lab.stop(replica.process)
    return figures


def loading(site, name, database, fill, records):
    """Starts of a mirror: empty, beside a Redis that has everything, and beside one that has nothing."""
    def flush():
        subprocess.run(["redis-cli", "-p", str(site.redis.port), "FLUSHALL"], check=True, capture_output=True)

    flush()
    # The first start makes the tables, the second one is the baseline.
    started(site, database)
    empty = started(site, database)
    fill()
    print(f"  {records} records are in {name}", file=sys.stderr)
    flush()
    run = {"database": name, "records": records, "machine": machine(), "empty": empty, "redis_empty": started(site, database)}
    run["redis_full"] = [started(site, database) for _ in range(3)]
    flush()
    return run


def middle(values):
    """The median."""
    return sorted(values)[len(values) // 2]


def show_loading(run):
    """One line for each start; whether the bars are held."""
    empty, full = run["empty"], run["redis_full"]
    seconds = middle([one["seconds"] for one in full]) - empty["seconds"]
    memory = middle([one["resident_mb"] for one in full]) - empty["resident_mb"]
    peak = middle([one["peak_mb"] for one in full]) - empty["resident_mb"]
    assert all(one["records"] >= run["records"] for one in full), run
    print(f"{run['records']} records from {run['database']}: {seconds:.2f} s and {memory:.1f} MB above an empty mirror "
          f"({empty['seconds']:.2f} s, {empty['resident_mb']:.1f} MB); {peak:.1f} MB at the peak; "
          f"{run['redis_empty']['seconds']:.1f} s if Redis has to be filled first")
    return seconds < LOADED_SECS and memory < LOADED_MB


def revocation():
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--trials", type=int, default=1000, help="sessions to end (default: 1000)")
    parser.add_argument("--records", type=int, default=1_000_000, help="revocations to load (default: 1000000)")
    parser.add_argument("--only", choices=["enforcement", "loading"], help="one half of it")
    add_options(parser)
    options = parser.parse_args()
    require("redis-server")
    programs = Programs(options)
    results, held = {}, True
    with Lab() as lab:
        postgres, site = Postgres(lab), Site(lab, programs)
        if options.only != "loading":
            results["enforcement"] = []
            for check in ("strict", "mirror"):
                run = enforcement(site, postgres.database(check), check, options.trials)
                results["enforcement"].append(run)
                refused, trip = run["first_refusal_ms"], run["round_trip_ms"]
                print(f"{check}: refused {refused['median']:.2f} ms after the acknowledgement (p90 {refused['p90']:.2f}, "
                      f"p99 {refused['p99']:.2f}, max {refused['max']:.2f}), a round trip ({trip['median']:.2f} ms) included; "
                      f"{run['passed']} requests passed in {refused['count']} trials")
                held &= refused["median"] < ENFORCED_MS and (check == "mirror" or run["passed"] == 0)
        if options.only != "enforcement":
            sqlite = lab.dir / "loading.db"
            loads = (
                ("sqlite", f"sqlite:{sqlite}", lambda: fill_sqlite(sqlite, options.records)),
                ("postgres", postgres.database("loading"), lambda: fill_postgres(postgres, "loading", options.records)),
            )
            results["loading"] = []
            for name, database, fill in loads:
                results["loading"].append(loading(site, name, database, fill, options.records))
                held &= show_loading(results["loading"][-1])
    print(f"kept in {keep('revocation', results)}")
    print(f"the bars ({ENFORCED_MS:g} ms, {LOADED_SECS:g} s, {LOADED_MB:g} MB) are {'held' if held else 'missed'}")
    return 0 if held else 1


if __name__ == "__main__":
    main(revocation)
