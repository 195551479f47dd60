"""A query takes no more time, memory and rows than it may, and can be stopped."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest
from building import atlas

ENDLESS = "SELECT count(*) FROM range(1000000000) a, range(1000000000) b"


def ask(folder, query, *more):
    return atlas("sql", query, "--atlas", folder, *more)


def test_an_endless_query_ends_with_its_time(planted_atlas):
    begin = time.monotonic()
    status, _, err = ask(planted_atlas, ENDLESS, "--seconds", "0.5")
    assert status == 1
    assert time.monotonic() - begin < 20
    assert err == [
        "atlas: the query took longer than 0.5 s and was stopped; ask for less, or allow more with --seconds"
    ]


def test_a_query_that_needs_too_much_memory_is_one_line(planted_atlas):
    query = "SELECT string_agg(i::VARCHAR, ',') FROM range(100000000) t(i)"
    status, _, err = ask(planted_atlas, query, "--memory", "0.1")
    assert status == 1
    assert err[0].startswith("atlas: the query needs more than 0.1 GB of memory; ask for less")


def test_a_query_that_gives_too_many_rows_is_one_line(planted_atlas):
    status, out, err = ask(planted_atlas, "SELECT * FROM range(11)", "--rows", "10")
    assert (status, out) == (1, [])
    assert err[0].startswith("atlas: the query gives more than 10 rows; add LIMIT")
    assert ask(planted_atlas, "SELECT * FROM range(11)", "--rows", "11")[0] == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_endless_query_can_be_stopped(planted_atlas, number):
    command = [sys.executable, "-m", "atlas", "sql", ENDLESS, "--atlas", planted_atlas]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        time.sleep(3)
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert err == "\natlas: stopped; run the same command to resume\n"
