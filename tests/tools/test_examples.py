"""Every lesson does what it says; the first one runs in test_live.py, on interfaces."""

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from commands import PATIENCE

from scout.loader import load_router
from scout.paths.compiler.native import compile_path

LESSONS = sorted((Path(__file__).parents[2] / "examples").glob("[0-9]*.py"))
ROUTER_FILES = [lesson for lesson in LESSONS if "RouterGraph(" in lesson.read_text()]


def run(lesson: Path) -> str:
    """The output of a lesson that is run as a program."""
    result = subprocess.run(
        [sys.executable, str(lesson)], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def lines_of(name: str) -> list[str]:
    """What the lesson of this file name prints."""
    (lesson,) = (each for each in LESSONS if each.name == name)
    return run(lesson).splitlines()


def test_the_lessons_are_numbered():
    assert [lesson.name[:3] for lesson in LESSONS] == [f"{number:02}_" for number in range(1, len(LESSONS) + 1)]


@pytest.mark.parametrize("lesson", ROUTER_FILES, ids=lambda path: path.stem)
def test_a_lesson_defines_paths(lesson):
    graph, paths = load_router(str(lesson))
    assert list(dict.fromkeys(path.source for path in paths)) == graph.ports


@pytest.mark.long
@pytest.mark.parametrize("lesson", ROUTER_FILES, ids=lambda path: path.stem)
def test_the_paths_of_a_lesson_compile(lesson):
    _, paths = load_router(str(lesson))
    assert compile_path(paths[0]).file.exists()


def test_the_second_lesson_tries_its_stage():
    printed = run(LESSONS[1])
    assert "dropped: True" in printed and "to another: 0" in printed


@pytest.mark.long
def test_the_third_lesson_loses_nothing_by_a_death():
    # The lesson may have been drawn before: code that was compiled for that must not be in the way.
    compile_path(load_router(str(LESSONS[2]))[1][0])
    printed = run(LESSONS[2])
    assert "sales: 200000 of 200000" in printed
    assert "receipts: 200000 of 200000" in printed
    assert "states equal: True; on the way: True" in printed


def test_the_third_lesson_is_the_same_as_plain_python():
    graph, (path,) = load_router(str(LESSONS[2]))
    shelf = graph.router("shop").tables["shelf"].initial
    for _ in range(900):
        path.run(b"\x03")
    assert shelf["pieces"].tolist() == [1000, 1000, 1000, 100, *[1000] * 12]


@pytest.mark.long
def test_in_the_fourth_lesson_both_receive_all_and_share_the_work():
    lines = run(LESSONS[3]).splitlines()
    requests, total = 100_000, 100_000 * 99_999 // 2
    for kind in (f"sum {total}", f"{5 * requests} cents"):
        own = sorted(line for line in lines if f": {kind}, primary of " in line)
        assert [line.split(":")[0] for line in own] == ["replica 0", "replica 1"]
        assert sum(int(line.split()[-1]) for line in own) == requests


@pytest.mark.long
def test_in_the_fifth_lesson_every_packet_goes_where_its_number_says():
    lines = run(LESSONS[4]).splitlines()
    far = [number for number in range(20_000, 30_000) if 2 + number % 64 >= 34]
    assert lines == [
        "to the first gateway: packets 0 to 9999, 10000 of them",
        f"to the second gateway: packets 10000 to {max(far)}, {10_000 + len(far)} of them",
        f"dropped, too few hops: {10_000 - len(far)}",
        "none of 30000 is missing: True",
    ]


@pytest.mark.long
def test_in_the_sixth_lesson_attributes_make_a_path_short_and_a_rule_limits_it():
    lines = run(LESSONS[5]).splitlines()
    every, voice = (line.split(": ")[1].split(", ") for line in lines[:2])
    assert set(every) - set(voice) == {"arp.in", "ip.local", "icmp.in"}
    assert set(voice) - set(every) == {"limit.in"}
    assert "      constant next hop, at ip.lookup: next hop 7 for all of 10.0.1.128/26" in lines
    assert "      limit expedited packets, at ip.lookup: 1,000 packets a second, 3 at once" in lines
    assert lines[-4:] == ["to right", "to right", "to right", "limit.in drops too-much-expedited"]


@pytest.mark.long
def test_in_the_seventh_lesson_packets_leave_by_their_deadlines():
    order, call, backup, drops = lines_of("07_queues.py")
    assert order == "c" * 11 + "b" * 64 + "c" * 9
    assert call.endswith("port 5060: 20 served, 0 found the queue full")
    assert backup.endswith("port 873: 64 served, 36 found the queue full")
    assert drops == "{'queue-full': 36}"


@pytest.mark.long
@pytest.mark.needs_namespaces
def test_in_the_eighth_lesson_an_application_is_answered_for_although_a_replica_dies():
    answered, refused = lines_of("08_udp_endpoint.py")
    assert answered == "answered: 1000 of 1000, and a replica was killed meanwhile"
    assert refused == "the server was killed: its port is unreachable"


@pytest.mark.long
@pytest.mark.needs_namespaces
def test_two_runs_of_the_eighth_lesson_do_not_disturb_each_other():
    with ThreadPoolExecutor() as pool:
        for answered, _ in pool.map(lines_of, ["08_udp_endpoint.py"] * 2):
            assert answered == "answered: 1000 of 1000, and a replica was killed meanwhile"


@pytest.mark.long
@pytest.mark.needs_namespaces
def test_in_the_ninth_lesson_files_are_intact_although_replicas_die():
    echo, taken, given, killed = lines_of("09_tcp_endpoint.py")
    assert echo == "echo: HELLO"
    for way, line in (("from the server", taken), ("to the server", given)):
        assert line.startswith(f"{way}: 100000000 bytes, intact: True; a replica was killed meanwhile; ")
    assert killed == "the server was killed: its connection is reset"


@pytest.mark.long
@pytest.mark.needs_namespaces
@pytest.mark.skipif(not shutil.which("curl") or not shutil.which("openssl"), reason="curl or openssl is missing")
def test_in_the_tenth_lesson_curl_talks_to_an_asyncio_library():
    assert lines_of("10_http_server.py") == [
        "hello, world",
        "taken: 5000000 bytes",
        "given and got back: True",
        "answered at once: 200 of 200",
        "hello, secret",
    ]


@pytest.mark.long
@pytest.mark.needs_namespaces
def test_in_the_eleventh_lesson_iperf3_measures_both_ways():
    _, *lines = lines_of("11_iperf3.py")
    assert len(lines) == 6
    for line in lines:
        rate = float(line.removesuffix(" Gbit/s").split(": ")[-1])
        assert rate > 0, line


@pytest.mark.long
@pytest.mark.needs_namespaces
def test_in_the_twelfth_lesson_transfers_are_intact_over_bad_links():
    (lesson,) = (each for each in LESSONS if each.name == "12_impairment.py")
    lines = [line.split("; ")[0] for line in run(lesson).splitlines()]
    assert lines[:3] == [
        "a good link: intact True, at least 0 ms there and back True, lost False, queue full False",
        "a long one: intact True, at least 20 ms there and back True, lost False, queue full False",
        "and with losses: intact True, at least 20 ms there and back True, lost True, queue full False",
    ]
    assert lines[3].startswith("a bottleneck of 20 Mbit/s: intact True, at least 20 ms there and back True, lost False")


@pytest.mark.long
@pytest.mark.needs_namespaces
def test_in_the_thirteenth_lesson_a_spliced_connection_outlives_its_proxy():
    refused, copied, spliced, killed = (line.split("; ")[0] for line in lines_of("13_splice.py"))
    assert refused == "port 22: 403"
    assert copied == "COPY: 200000000 bytes, intact: True"
    assert spliced == "CONNECT: 200000000 bytes, intact: True"
    assert killed == "the proxy was killed meanwhile: True"


@pytest.mark.long
@pytest.mark.needs_namespaces
def test_in_the_fourteenth_lesson_a_port_comes_and_goes_and_no_packet_is_lost():
    *visits, replicas, stream = lines_of("14_live_ports.py")
    assert visits == [f"visit {number}: welcome" for number in (1, 2, 3)]
    assert replicas == "the same replicas: True"
    assert stream.startswith("left to right: True; ")
