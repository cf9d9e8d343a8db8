"""What the template's protection costs: a rendered project against the bare SDK endpoint.

    uv run python benchmarks/overhead.py [--rounds N] [--quick] [--mended-sdk]

Two real server processes with the same store and the same scripted agent are asked in turn.
Exit status 1 when a ratio misses its bound. Figures of other machines, or of one at another
hour, say little: the ratios of one run are what counts.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any, NoReturn

import uvloop
from load import Connection, Load, Server, drive
from report import Row, table

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from tests.rendering import clone_template, render  # noqa: E402

ANSWERS = {"level": "agent", "auth": "anonymous", "store": "memory", "model": "openai"}
THREADS = 20  # of the one visitor: a full page of threads.list
LISTING, TALKING = 8, 4  # connections at once
SEEDED = 10  # turns in a thread before it is measured: a full history
WORDS = 300  # of a turn, as fast as the model can
FEW_WORDS, PAUSE = 5, 2  # of a turn whose first event is timed; the pause is in milliseconds


def say(words: int, pause: int = 0) -> dict[str, Any]:
    text = f"say {words} words, {pause} ms apart"
    content = [{"type": "input_text", "text": text}]
    return {"content": content, "attachments": [], "inference_options": {}}


class Side:
    """One server with its connections, its visitor's threads filled."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.connections: list[Connection] = []

    async def prepare(self) -> None:
        first = await self.server.connect()
        await first.introduce()
        for _ in range(THREADS):
            answer = await first.post("threads.create", input=say(3))
            event = answer.body[answer.body.index(b"{") :].split(b"\n", 1)[0]
            self.server.threads.append(json.loads(event)["thread"]["id"])
        for number in range(TALKING + 1):
            for _ in range(SEEDED):
                await self.turn(first, number, say(3))
        self.connections = [await self.server.connect() for _ in range(LISTING)]

    async def turn(self, connection: Connection, number: int, words: dict[str, Any]) -> Any:
        thread_id = self.server.threads[number]
        return await connection.post("threads.add_user_message", thread_id=thread_id, input=words)

    async def list_threads(self, seconds: float) -> Load:
        async def step(connection: Connection, _: int) -> int:
            answer = await connection.post("threads.list", limit=THREADS, order="desc")
            if answer.body.count(b'"thr_') != THREADS + 1:  # each of them, and the cursor
                raise SystemExit(f"{self.server.name} listed {answer.body.decode()}")
            return 1

        return await drive(self.connections, seconds, step)

    async def talk(self, seconds: float) -> Load:
        async def step(connection: Connection, number: int) -> int:
            await self.turn(connection, number, say(WORDS))
            return WORDS

        return await drive(self.connections[:TALKING], seconds, step)

    async def first_event(self) -> tuple[float, float]:
        """Milliseconds from the request to its first event, and to the model's first word."""
        answer = await self.turn(self.connections[0], TALKING, say(FEW_WORDS, PAUSE))
        return answer.first_event * 1000, answer.first_word * 1000


class Comparison:
    def __init__(self, product: Side, bare: Side, listing: float) -> None:
        self.product, self.bare = product, bare
        self.listed = Row("threads.list, requests/s", at_least=listing)
        self.list_cpu = Row("  server CPU s per 1000 requests")
        self.streamed = Row("agent turns, words/s", at_least=1.5)
        self.stream_cpu = Row("  server CPU s per 1000 words")
        self.first = Row("time to the first event, p50 ms", at_most=1.2)
        self.word = Row("  to the model's first word, p50 ms")
        self.rows = [
            self.listed,
            self.list_cpu,
            self.streamed,
            self.stream_cpu,
            self.first,
            self.word,
        ]
        self.own_load = 0.0

    async def check(self) -> None:
        """Both sides send the same words, or the ratios would say nothing."""
        turns = [await side.turn(side.connections[0], 0, say(WORDS)) for side in self.sides(0)]
        if {turn.words for turn in turns} != {3 * WORDS}:
            raise SystemExit(f"the turns differ: {[turn.words for turn in turns]} words")

    def sides(self, number: int) -> list[Side]:
        return [self.product, self.bare] if number % 2 == 0 else [self.bare, self.product]

    async def round(self, number: int, seconds: float, probes: int) -> None:
        for side in self.sides(number):
            self._keep(side, self.listed, self.list_cpu, await side.list_threads(seconds))
        for side in self.sides(number):
            self._keep(side, self.streamed, self.stream_cpu, await side.talk(seconds))
        times: dict[Side, list[tuple[float, float]]] = {self.product: [], self.bare: []}
        for probe in range(probes):
            for side in self.sides(probe):
                times[side].append(await side.first_event())
        for side, found in times.items():
            events, words = zip(*found, strict=True)
            self._values(side, self.first).append(median(events))
            self._values(side, self.word).append(median(words))

    def _keep(self, side: Side, rate: Row, cpu: Row, load: Load) -> None:
        self._values(side, rate).append(load.rate)
        self._values(side, cpu).append(load.cpu_per_1000)
        self.own_load = max(self.own_load, load.own_cpu / load.seconds)

    def _values(self, side: Side, row: Row) -> list[float]:
        return row.ours if side is self.product else row.theirs


async def compare(
    servers: list[Server], rounds: int, quick: bool, listing: float = 0.8
) -> Comparison:
    product, bare = map(Side, servers)
    await asyncio.gather(product.prepare(), bare.prepare())
    comparison = Comparison(product, bare, listing)
    await comparison.check()
    for number in range(rounds):
        await comparison.round(number, seconds=0.3 if quick else 0.7, probes=5 if quick else 15)
    return comparison


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--quick", action="store_true", help="shorter rounds, wider spread")
    parser.add_argument(
        "--mended-sdk",
        action="store_true",
        help="compare with an SDK that builds its request validator once, not in each request",
    )
    options = parser.parse_args()

    other = "mended" if options.mended_sdk else "bare"
    measure(options.rounds, options.quick, other, ANSWERS)


def measure(
    rounds: int,
    quick: bool,
    other: str,
    answers: dict[str, str],
    listing: float = 0.8,
    log_level: str = "ERROR",
) -> NoReturn:
    """Print the comparison and exit; `listing` is the least ratio of threads.list."""
    with tempfile.TemporaryDirectory() as folder:
        (template := Path(folder, "template")).mkdir()
        project = render(clone_template(template, "v99.0.0"), Path(folder, "project"), answers)
        script = HERE / "servers.py"
        servers = [Server.start(name, project, script, log_level) for name in ("product", other)]
        try:
            comparison = uvloop.run(compare(servers, rounds, quick, listing))
        except (OSError, EOFError) as error:
            sys.exit(f"a server ended before its time: {error}")
        finally:
            for server in servers:
                server.stop()
    print(f"Median of {rounds} interleaved rounds; {WORDS} words a turn.")
    print(table(comparison.rows, "product", f"{other} SDK"))
    print(f"The load generator used at most {comparison.own_load:.0%} of one processor.")
    sys.exit(not all(row.holds for row in comparison.rows))


if __name__ == "__main__":
    main()
