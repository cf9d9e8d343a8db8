"""What a production turn costs: jwt, postgres, one tool and 300 words, against the bare SDK.

    uv run python benchmarks/turn.py [--rounds N] [--quick]

Two real server processes with the same scripted agent are asked in turn: a rendered project of the
production level with all of its example on, and the SDK's own endpoint with a memory store.
Processor time is the server process's own: PostgreSQL's is not in it. Exit status 1 when a ratio
misses its bound. Figures of other machines say little: the ratios of one run are what counts.
"""

import argparse
import asyncio
import json
import resource
import sys
import tempfile
from pathlib import Path
from statistics import median, quantiles

import uvloop
from load import Answer, Connection, Server
from overhead import ANSWERS, HERE, say
from report import Row, table

sys.path.insert(0, str(HERE.parent))

from tests.rendering import clone_template, render

PRODUCTION = ANSWERS | {"level": "production", "auth": "jwt", "store": "postgres"}
WORDS = 300
PACED = 50  # milliseconds between two words: 20 a second
BUSY, CROWD, STREAMS = 50, 200, 1000
SLOW, FEW = 1000, 60  # of the streams of the last leg: milliseconds between words, words
RAMP = 0.04  # seconds from the start of one stream to the next, where they are many


def turn(words: int, pause: int = 0) -> dict[str, object]:
    asked = say(words, pause)
    asked["content"][0]["text"] += ", roll dice"
    return asked


class Side:
    """One server, with as many connections as streams, each with a thread of its own."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.connections: list[Connection] = []

    async def prepare(self, streams: int) -> None:
        first = await self.server.connect()
        await first.introduce()
        await first.post("threads.create", input=say(1))
        self.connections = [first] + [await self.server.connect() for _ in range(streams - 1)]
        for start in range(0, streams, 20):
            made = [c.post("threads.create", input=say(1)) for c in self.connections[start:][:20]]
            for answer in await asyncio.gather(*made):
                event = answer.body[answer.body.index(b"{") :].split(b"\n", 1)[0]
                self.server.threads.append(json.loads(event)["thread"]["id"])

    async def talk(self, streams: int, words: int, pause: int, ramp: float = 0) -> list[Answer]:
        """A turn in each of so many threads, one begun `ramp` seconds after the other."""
        asked = turn(words, pause)

        async def one(number: int) -> Answer:
            await asyncio.sleep(number * ramp)
            thread_id = self.server.threads[number]
            connection = self.connections[number]
            return await connection.post(
                "threads.add_user_message", thread_id=thread_id, input=asked
            )

        answers = await asyncio.gather(*map(one, range(streams)))
        if {answer.words for answer in answers} != {3 * words}:
            raise SystemExit(f"{self.server.name} said {answers[0].words} words of {3 * words}")
        return answers

    async def cost(self, turns: int) -> float:
        """Processor milliseconds of a turn, one after another."""
        before = await self.connections[0].cpu()
        for _ in range(turns):
            await self.talk(1, WORDS, 0)
        return (await self.connections[0].cpu() - before) / turns * 1000


class Comparison:
    def __init__(self, product: Side, bare: Side) -> None:
        self.product, self.bare = product, bare
        self.cost = Row("processor ms of a turn", at_most=1.0)
        self.paced = Row(f"  at {1000 // PACED} words/s, {CROWD} at once")
        self.finish50 = Row(f"finish of {CROWD} streams, p50 s")
        self.finish99 = Row("  p99 s", at_most=1.0)
        self.first50 = Row(f"first event of {BUSY} turns, p50 ms", at_most=1.3)
        self.first99 = Row("  p99 ms", at_most=1.3)
        self.many50 = Row(f"finish of {STREAMS} streams, p50 s")
        self.many99 = Row("  p99 s")
        self.memory = Row("  memory of a stream, KB")

    @property
    def rows(self) -> list[Row]:
        return [row for row in vars(self).values() if isinstance(row, Row) and row.ours]

    def keep(self, side: Side, row: Row, value: float) -> None:
        (row.ours if side is self.product else row.theirs).append(value)

    async def round(self, number: int, words: int) -> None:
        both = [self.product, self.bare]
        sides = both[:: 1 if number % 2 == 0 else -1]
        for side in sides:
            self.keep(side, self.cost, await side.cost(20))
        for side in sides:
            for _ in range(4):  # more first events for one percentile
                firsts = [a.first_event * 1000 for a in await side.talk(BUSY, 30, 20)]
            self.keep(side, self.first50, median(firsts))
            self.keep(side, self.first99, p99(firsts))
        for side in sides:
            before = await side.connections[0].cpu()
            ends = [answer.end for answer in await side.talk(CROWD, words, PACED, RAMP)]
            used = await side.connections[0].cpu() - before
            self.keep(side, self.paced, used / CROWD * 1000)
            self.keep(side, self.finish50, median(ends))
            self.keep(side, self.finish99, p99(ends))

    async def crowd(self) -> None:
        for side in (self.product, self.bare):
            asker = await side.server.connect()
            before = await asker.memory()
            talking = asyncio.create_task(side.talk(STREAMS, FEW, SLOW, RAMP))
            await asyncio.sleep((STREAMS * RAMP + FEW * SLOW / 1000) / 2)  # all of them talk
            during = await asker.memory()
            ends = [answer.end for answer in await talking]
            self.keep(side, self.many50, median(ends))
            self.keep(side, self.many99, p99(ends))
            self.keep(side, self.memory, (during - before) / STREAMS / 1000)


def p99(values: list[float]) -> float:
    return quantiles(values, n=100)[-1]


async def compare(servers: list[Server], rounds: int, quick: bool) -> Comparison:
    product, bare = map(Side, servers)
    for side in (product, bare):
        await side.prepare(CROWD if quick else STREAMS)
    comparison = Comparison(product, bare)
    for side in (product, bare):
        await side.cost(5)  # the first turns warm up
    for number in range(rounds):
        await comparison.round(number, 60 if quick else WORDS)
    if not quick:
        await comparison.crowd()
    return comparison


def main() -> None:
    parser = argparse.ArgumentParser(description="Time a production turn against the bare SDK.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="fewer words, no 1,000 streams")
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, hard), hard))
    with tempfile.TemporaryDirectory() as folder:
        (template := Path(folder, "template")).mkdir()
        clone_template(template, "v99.0.0")
        ours = render(template, Path(folder, "ours"), PRODUCTION)
        theirs = render(template, Path(folder, "theirs"), ANSWERS)
        script = HERE / "servers.py"
        servers = [
            Server.start("product", ours, script, "INFO"),
            Server.start("bare", theirs, script),
        ]
        try:
            comparison = uvloop.run(compare(servers, options.rounds, options.quick))
        except (OSError, EOFError) as error:
            sys.exit(f"a server ended before its time: {error}")
        finally:
            for server in servers:
                server.stop()
    print(f"Median of {options.rounds} interleaved rounds; a tool and {WORDS} words a turn.")
    print(table(comparison.rows, "product", "bare SDK"))
    sys.exit(not all(row.holds for row in comparison.rows))


if __name__ == "__main__":
    main()
