"""The printed tables: median, lowest and highest round, and the ratio to the baseline of the same round."""

from collections.abc import Iterable, Sequence

from scripts.bench.results import Figure, Record, mean_with_interval, ratio, select

#: Shape -> (unit, baseline contender).
RATES = {
    "enqueue": ("jobs/s", "bare celery"),
    "dispatch": ("messages/s", "bare celery"),
    "dispatch by 1000": ("messages/s", "bare celery"),
    "submit_bulk": ("rows/s", "bare copy"),
    "drain": ("jobs/s", "bare celery"),
    "drain of nothing": ("jobs/s", "bare celery"),
    "accept": ("requests/s", "bare view"),
    "accept in bulk": ("jobs/s", ""),
}
ON_STACK = "on the stack"
COSTS = ("jobs_per_cpu_second", "statements_per_job", "commits_per_job", "wal_bytes_per_job", "memory_mib")

#: Of `ONLY=watcher`: shape -> what is compared; kombu's connections, ours.
FOLLOWING = {"following: drain": "cpu_us_per_job", "following: idle": "cpu_ms_per_second"}
FOLLOWERS = ("kombu's own", "ours, watched")

#: What another shape is compared with, where the baseline has none of that name.
_COMPARED_WITH = {"dispatch by 1000": "dispatch"}


def lines(records: Sequence[Record]) -> list[str]:
    """Everything that a run measured."""
    every = (rates, latencies, costs, growth, memory, following)
    return [line for table in every for line in table(records)]


def rates(records: Sequence[Record]) -> list[str]:
    on_stack = dict.fromkeys(one["shape"] for one in records if one["shape"].startswith(ON_STACK))
    rows = [
        _rate_row(records, shape, contender)
        for shape in (*RATES, *on_stack)
        for contender in _contenders(records, shape)
        if select(records, shape, contender, "per_second")
    ]
    return titled(("shape", "contender", "median", "min", "max", "", "ratio (min to max)"), rows)


def latencies(records: Sequence[Record]) -> list[str]:
    shapes = sorted({one["shape"] for one in records if "p50_ms" in one})
    rows = [
        (shape, contender, *(_span(records, shape, contender, field) for field in ("p50_ms", "p99_ms")))
        for shape in shapes
        for contender in _contenders(records, shape)
    ]
    return titled(("latency", "contender", "p50 ms (min to max)", "p99 ms (min to max)"), rows)


def costs(records: Sequence[Record]) -> list[str]:
    rows = [
        ("drain", contender, *(_span(records, "drain", contender, field) for field in COSTS))
        for contender in _contenders(records, "drain")
    ]
    head = ("cost", "contender", "jobs per CPU-second", "statements/job", "commits/job", "WAL bytes/job", "MiB")
    return titled(head, rows)


def growth(records: Sequence[Record]) -> list[str]:
    """Milliseconds by open jobs, and how much the largest backlog adds; the index that the largest one's plan reads."""
    found = [one for one in records if one["shape"] == "operation"]
    sizes = sorted({int(one["open"]) for one in found})
    rows = []
    for statistics, name in dict.fromkeys((one["statistics"], one["operation"]) for one in found):
        same = [one for one in found if (one["statistics"], one["operation"]) == (statistics, name)]
        by_size = [Figure.of([one["ms"] for one in same if one["open"] == size]) for size in sizes]
        spans = [f"{figure.median:.2f} ({figure.low:.2f} to {figure.high:.2f})" for figure in by_size]
        rows.append((name, statistics, *spans, f"{by_size[-1].median / by_size[0].median:.2f}", same[-1]["plan"]))
    head = ("operation, ms", "statistics", *(f"{size:,} open" for size in sizes), "ratio", "reads")
    return titled(head, rows)


def memory(records: Sequence[Record]) -> list[str]:
    """Drains before a backlog, and what Redis and the bridge held meanwhile: at the start, at the most, at the end."""
    found = [one for one in records if "redis_mib" in one]
    rows = [
        (
            f"{one['shape']}, round {one['round']}",
            f"{one['open']:,}",
            f"{one['per_second']:,.0f}" if "per_second" in one else "",
            *(" / ".join(f"{value:,g}" for value in one[field]) for field in ("redis_mib", "messages", "bridge_mib")),
        )
        for one in found
    ]
    return titled(("drain", "open", "jobs/s", "Redis MiB", "messages", "bridge MiB"), rows)


def following(records: Sequence[Record]) -> list[str]:
    """CPU of connections that follow the primary beside kombu's own of the same round: what they add, and its share."""
    rows = []
    for shape, field in FOLLOWING.items():
        stock, ours = (select(records, shape, contender, field) for contender in FOLLOWERS)
        pairs = [(stock[number], ours[number]) for number in stock if number in ours]
        if pairs:
            added = mean_with_interval([mine - theirs for theirs, mine in pairs])
            share = mean_with_interval([100 * (mine / theirs - 1) for theirs, mine in pairs])
            medians = (f"{Figure.of(column).median:,.2f}" for column in zip(*pairs, strict=True))
            rows.append((shape, field, str(len(pairs)), *medians, _interval(added), f"{_interval(share)} %"))
    head = ("following", "unit", "pairs", *FOLLOWERS, "added (95 %)", "share (95 %)")
    return titled(head, rows)


def _interval(figure: Figure) -> str:
    return f"{figure.median:+.2f} ({figure.low:+.2f} to {figure.high:+.2f})"


def _rate_row(records: Sequence[Record], shape: str, contender: str) -> tuple[str, ...]:
    unit, baseline = RATES.get(shape, ("jobs/s", ""))
    mine = select(records, shape, contender, "per_second")
    figure = Figure.of(list(mine.values()))
    theirs = select(records, _COMPARED_WITH.get(shape, shape), baseline, "per_second")
    compared = ratio(mine, theirs) if contender != baseline else None
    shown = f"{compared.median:.2f} ({compared.low:.2f} to {compared.high:.2f})" if compared else ""
    if refused := sum(select(records, shape, contender, "refused").values()):
        shown += f" {refused:,.0f} requests not accepted"
    return (shape, contender, *(f"{value:,.0f}" for value in (figure.median, figure.low, figure.high)), unit, shown)


def _span(records: Sequence[Record], shape: str, contender: str, field: str) -> str:
    values = list(select(records, shape, contender, field).values())
    if not values:
        return ""
    figure = Figure.of(values)
    return f"{figure.median:,.1f} ({figure.low:,.1f} to {figure.high:,.1f})"


def _contenders(records: Iterable[Record], shape: str) -> list[str]:
    return list(dict.fromkeys(str(one["contender"]) for one in records if one["shape"] == shape))


def titled(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Aligned columns below an empty line; nothing where there are no rows."""
    if not rows:
        return []
    table = [head, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(head))]
    padded = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in table]
    return ["", *("  ".join(cells).rstrip() for cells in padded)]
