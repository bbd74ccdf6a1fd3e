"""`verify-data`: what must never be true, asked of the running stack's Postgres in one snapshot.

The queries are those of the exporter (app/exporter/invariants.sql), here without its bounds.
"""

import argparse
import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple
from uuid import UUID

from scripts.stack import console
from scripts.stack.deployment import Stack
from scripts.stack.errors import StackError
from scripts.stack.postgres import Postgres

#: More than any table has.
ALL_ROWS: Final = 2_000_000_000
_DAY_SECONDS: Final = 86_400
#: A count stops here.
_MOST: Final = 1000
_SHOWN: Final = 3

_SECTION: Final = re.compile(r"^-- name: (\w+)\n(.*?)(?=^-- name: |\Z)", re.MULTILINE | re.DOTALL)

_BEGIN: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;\nSET LOCAL statement_timeout = '60s';\n"
_COUNT: Final = """SELECT '{name}', count(*), array_to_string((array_agg(broken.id))[1:{shown}], ',')
FROM ({query} LIMIT {most}) AS broken (id);
"""

_JOB: Final = r"""
\x on
SELECT id, owner, kind, pool, state, attempt, max_attempts, lease_token, leased_by, lease_until, not_before,
    next_dispatch_at, dispatch_gen, hinted_at, accepted_at, started_at, finished_at, error_class, identity, root_id,
    replay_of_id, (SELECT n FROM probe_count WHERE job_id = job.id) AS effects
FROM job WHERE id = :'id';
\x off
SELECT at, event, actor, from_state, to_state, attempt, lease_token AS token, dispatch_gen AS gen, reason
FROM job_event WHERE job_id = :'id' ORDER BY id;
SELECT reason, delivery_count, error_class, error_message, created_at, replayed_as_id
FROM dead_letter WHERE job_id = :'id';
"""


class Finding(NamedTuple):
    """One invariant, how much breaks it (counted up to 1000), and the first ids."""

    invariant: str
    broken: int
    ids: tuple[str, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--job", type=UUID, metavar="ID", help="show the row, the timeline and the dead letter of one")


def run(arguments: argparse.Namespace, stack: Stack) -> int:
    if arguments.job:
        console.say(Postgres(stack).tables(_JOB, id=str(arguments.job)).strip())
        return 0
    findings = look(stack)
    for line in table(findings):
        console.say(line)
    broken = [finding for finding in findings if finding.broken]
    if broken:
        names = ", ".join(finding.invariant for finding in broken)
        raise StackError(f"{len(broken)} of {len(findings)} invariants are broken: {names}.", fix=next_step(broken[0]))
    console.say(f"All {len(findings)} invariants hold.")
    return 0


def look(stack: Stack, *, rows: int = ALL_ROWS) -> list[Finding]:
    """Every invariant over the newest `rows` rows of each sort; jobs that retention has thinned are not looked at."""
    seconds = int(stack.value("RETENTION_DAYS")) * _DAY_SECONDS
    text = (stack.root / "app" / "exporter" / "invariants.sql").read_text(encoding="utf-8")
    return [_finding(row) for row in Postgres(stack).rows(script(text, seconds=seconds, rows=rows))]


def script(text: str, *, seconds: int, rows: int) -> str:
    """What psql runs: one row `name|count|id,id,id` per invariant of the file."""
    counts = (
        _COUNT.format(name=name, query=query, shown=_SHOWN, most=_MOST)
        for name, query in _queries(text, seconds=seconds, rows=rows)
    )
    return _BEGIN + "".join(counts) + "COMMIT;\n"


def table(findings: Sequence[Finding]) -> list[str]:
    """One line per invariant."""
    width = max(len(one.invariant) for one in findings)
    return [_line(one, width).rstrip() for one in findings]


def next_step(finding: Finding) -> str:
    """The command that shows what is wrong."""
    try:
        return f"make verify-data JOB={UUID(finding.ids[0])}"
    except ValueError:  # it names no job
        return "make compose DO=\"exec postgres psql -U holdfast -c '\\d job'\""


def _queries(text: str, *, seconds: int, rows: int) -> Iterator[tuple[str, str]]:
    values: dict[str, object] = {"seconds": seconds, "rows": rows}
    for name, section in _SECTION.findall(text):
        query = section % values
        if name.startswith("_"):
            values[name] = query
        else:
            yield name, query


def _line(one: Finding, width: int) -> str:
    sign = "BROKEN" if one.broken else "ok    "
    return f"{sign}  {one.invariant:<{width}}  {one.broken:>4}  {' '.join(one.ids)}"


def _finding(row: str) -> Finding:
    name, count, ids = row.split("|")
    return Finding(name, int(count), tuple(filter(None, ids.split(","))))
