"""The registry: names, pools, adoption of existing functions."""

import pytest
from pydantic import BaseModel, ValidationError

from jobs.context import Done, JobContext
from jobs.errors import UnknownKind
from jobs.kinds import adopt, all_kinds, get_kind, job_kind


class Params(BaseModel):
    n: int = 0


def handler(job: JobContext, params: Params) -> None:
    return None


@pytest.mark.parametrize("name", ["probe", "Probe.fast", "a.b c", "x." + "y" * 40, ""])
def test_refuses_names_that_do_not_fit_a_hint(name: str) -> None:
    with pytest.raises(ValueError, match="lower-case words"):
        job_kind(name, pool="fast", params=Params)(handler)


def test_refuses_unknown_pools_and_zero_attempts() -> None:
    with pytest.raises(ValueError, match="use one of fast, cpu, io"):
        job_kind("unit.kind", pool="slow", params=Params)
    with pytest.raises(ValueError, match="at least 1"):
        job_kind("unit.kind", pool="fast", params=Params, max_attempts=0)


def test_refuses_a_name_twice() -> None:
    job_kind("unit.once", pool="fast", params=Params)(handler)
    job_kind("unit.once", pool="fast", params=Params)(handler)  # the same module imported twice
    with pytest.raises(ValueError, match="registered twice"):
        job_kind("unit.once", pool="fast", params=Params)(lambda job, params: None)


def test_unknown_kind_lists_what_there_is() -> None:
    with pytest.raises(UnknownKind, match=r"probe\.cpu, probe\.fast"):
        get_kind("unit.nothing")


def test_every_kind_has_a_schema() -> None:
    assert {"probe.fast", "probe.cpu", "probe.io"} <= set(all_kinds())
    for kind in all_kinds().values():
        assert kind.schema()["type"] == "object", kind.name


def resize(path: str, width: int = 100) -> str:
    return f"{path} at {width}"


class CeleryTaskLike:
    """What `@shared_task` leaves behind, as far as adoption looks."""

    def apply_async(self) -> None: ...

    def run(self, path: str, width: int = 100) -> str:
        return resize(path, width)


@pytest.mark.parametrize("work", [resize, CeleryTaskLike()])
def test_existing_function_becomes_a_kind_in_one_line(work: object) -> None:
    name = f"unit.adopted_{'task' if isinstance(work, CeleryTaskLike) else 'function'}"
    adopt(work, name=name, pool="cpu", max_attempts=2)  # type: ignore[arg-type]
    kind = get_kind(name)
    assert kind.max_attempts == 2
    assert kind.schema()["required"] == ["path"]
    assert kind.handler(None, kind.params(path="a.png")) == {"value": "a.png at 100"}  # type: ignore[arg-type]
    with pytest.raises(ValidationError):
        kind.params(path="a.png", height=3)


def test_adopted_database_work_runs_as_an_effect() -> None:
    seen: list[int] = []

    def remember(n: int) -> None:
        seen.append(n)

    adopt(remember, name="unit.effect", pool="fast", as_effect=True)
    kind = get_kind("unit.effect")
    done = kind.handler(None, kind.params(n=3))  # type: ignore[arg-type]
    assert isinstance(done, Done)
    assert seen == []
    for effect in done.effects:
        effect()
    assert seen == [3]
