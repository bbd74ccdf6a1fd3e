"""The job kind."""

from functools import partial

from pydantic import BaseModel

from jobs import Done, JobContext, job_kind
from tests.others import work


class EffectParams(BaseModel):
    key: str


@job_kind("others.effect", pool="fast", params=EffectParams)
def effect(_job: JobContext, params: EffectParams) -> Done:
    work.begin(params.key)
    return Done(effects=[partial(work.apply, params.key)])
