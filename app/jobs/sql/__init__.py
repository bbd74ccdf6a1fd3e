"""The statements that move a job. Each is one round trip and writes its own timeline row.

Index predicates are literals: `ON CONFLICT … WHERE` with parameters fails once psycopg prepares the statement.
Writes take the time from `clock_timestamp()`; scans compare with `statement_timestamp()`, which an index can use.
`%%` is a percent sign of LIKE.
"""

from jobs.sql.attempt import (
    CANCEL,
    CLAIM,
    CONFIRM,
    COUNT_PROBE,
    DISPATCHABLE,
    FAIL,
    FINISH,
    HAND_BACK,
    INTEND,
    RENEW,
    RETRY,
)
from jobs.sql.fragments import GRACE_CAP_SECONDS, IdentityForm
from jobs.sql.hold import CLOSE_KINDS, HOLD_HINTED, KIND_BREAKERS, KIND_ENDS, LET_GO, OPEN_KINDS, PROBE_KINDS
from jobs.sql.letters import LIVE_OF_DEAD, MARK_ANNOUNCED, MARK_REPLAYED, UNANNOUNCED
from jobs.sql.retain import FORGET, THIN
from jobs.sql.submit import (
    ANSWER_KEY,
    NOTE_KEY_USE,
    READ_KEY,
    READ_LIVE_KEY,
    READ_POOLS,
    RESERVE_KEY,
    SUBMIT,
)
from jobs.sql.sweep import (
    COUNT_OPEN,
    DUE,
    ENTER_EPOCH,
    EPOCH_DUE,
    FAIL_LOST,
    HINT_TO_CLAIM,
    LOOK,
    LOST_DUE,
    REFUSED,
    TAKE_DUE,
    TAKE_EXPIRED,
    TAKE_HINTED,
    WRITE_POOLS,
)

__all__ = [
    "ANSWER_KEY",
    "CANCEL",
    "CLAIM",
    "CLOSE_KINDS",
    "CONFIRM",
    "COUNT_OPEN",
    "COUNT_PROBE",
    "DISPATCHABLE",
    "DUE",
    "ENTER_EPOCH",
    "EPOCH_DUE",
    "FAIL",
    "FAIL_LOST",
    "FINISH",
    "FORGET",
    "GRACE_CAP_SECONDS",
    "HAND_BACK",
    "HINT_TO_CLAIM",
    "HOLD_HINTED",
    "INTEND",
    "KIND_BREAKERS",
    "KIND_ENDS",
    "LET_GO",
    "LIVE_OF_DEAD",
    "LOOK",
    "LOST_DUE",
    "MARK_ANNOUNCED",
    "MARK_REPLAYED",
    "NOTE_KEY_USE",
    "OPEN_KINDS",
    "PROBE_KINDS",
    "READ_KEY",
    "READ_LIVE_KEY",
    "READ_POOLS",
    "REFUSED",
    "RENEW",
    "RESERVE_KEY",
    "RETRY",
    "SUBMIT",
    "TAKE_DUE",
    "TAKE_EXPIRED",
    "TAKE_HINTED",
    "THIN",
    "UNANNOUNCED",
    "WRITE_POOLS",
    "IdentityForm",
]
