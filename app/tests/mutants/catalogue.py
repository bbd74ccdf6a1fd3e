"""The mutants, in the order of a job's life. Names that `scripts.model` uses mean the same there."""

from collections.abc import Sequence
from typing import Final

from tests.mutants.mutant import Edit, Mutant

_ORDERS: Final = "tests/integration/test_interleavings.py::test_any_order_of_steps_and_deaths_keeps_the_promises"
#: Seeded orders of steps, with deaths; judged by history, rows and invariants.
EVERY_FAULT: Final = f"{_ORDERS}[every-fault]"
#: The same without a sweeper: what the way to the worker keeps by itself.
BRIDGE_ALONE: Final = f"{_ORDERS}[bridge-alone]"
LIFE: Final = "tests/integration/jobs/test_life_machine.py"
_JOBS: Final = "tests/integration/jobs"
_BRIDGE: Final = "tests/integration/test_bridge.py"

_ENDS: Final = "every accepted job ends"
_ONCE: Final = "an effect is applied once"
_STALE: Final = "who has lost the lease changes nothing"
_RESCUED: Final = "a lost hint or worker is missed in time"
_ACCEPTED: Final = "Redis costs no accept"
_ONE_JOB: Final = "one request is one job"
_LETTERED: Final = "a dead job has its letter, and a cause"

_GROUP: Final = "bridge/consumer_group.py"
_SWEEPER: Final = "jobs/sweeper.py"
_SWEEP: Final = "jobs/sql/sweep.py"
_ATTEMPT: Final = "jobs/sql/attempt.py"


def _mutant(name: str, what: str, breaks: str, edits: Sequence[Edit], *checks: str) -> Mutant:
    return Mutant(name, what, breaks, edits, checks)


_ACCEPT: Final = (
    _mutant(
        "publish-before-commit",
        "a submit hints at once, inside its transaction",
        _ENDS,
        [
            Edit(
                "jobs/hinting.py",
                "        after_commit(_send_accepted, hints, via)\n",
                "        _send_accepted(hints, via)\n",
            )
        ],
        BRIDGE_ALONE,
        f"{_JOBS}/test_submit.py::test_rollback_of_the_caller_leaves_no_job_and_no_hint",
    ),
    _mutant(
        "no-hint-after-commit",
        "a submit leaves its hint to the sweeper",
        _ENDS,
        [Edit("jobs/hinting.py", "    if hints:\n        after_commit", "    if not hints:\n        after_commit")],
        BRIDGE_ALONE,
        f"{_JOBS}/test_submit.py::test_accepts_and_hints_after_commit",
    ),
    _mutant(
        "hint-fault-reaches-caller",
        "on_commit is not robust: a fault of the hint fails the accept",
        _ACCEPTED,
        [
            Edit(
                "jobs/after_commit.py",
                "transaction.on_commit(call, robust=True)",
                "transaction.on_commit(call)",
            )
        ],
        f"{_JOBS}/test_submit.py::test_a_fault_after_the_commit_reaches_no_caller",
    ),
    _mutant(
        "no-unique-request",
        "each submit has an identity of its own",
        _ONE_JOB,
        [
            Edit(
                "jobs/requests.py",
                "{digest if form == 'req' else job_id}",
                "{f'{digest}-{job_id}' if form == 'req' else job_id}",
            )
        ],
        EVERY_FAULT,
        f"{_JOBS}/test_submit.py::test_equal_request_gets_the_same_job",
    ),
    _mutant(
        "stream-trimmed",
        "XADD with MAXLEN",
        _ENDS,
        [
            Edit(
                "dispatch/stream_dispatcher.py",
                'return ("XADD", stream, "*", *fields)',
                'return ("XADD", stream, "MAXLEN", "5", "*", *fields)',
            )
        ],
        BRIDGE_ALONE,
    ),
)

_BRIDGES: Final = (
    _mutant(
        "ack-before-publish",
        "the bridge acknowledges, then publishes",
        _ENDS,
        [
            Edit(
                _GROUP,
                "            words += (len(one.entries), *one.entries, one.list, one.message)\n",
                '            words += (len(one.entries), *one.entries, "", "")\n',
            ),
            Edit(
                _GROUP,
                "            return set(answer[0]), set(answer[1])\n",
                "            for one in publications:\n"
                "                if one.list and set(one.entries) <= set(answer[0]):\n"
                "                    self.client.lpush(one.list, one.message)\n"
                "            return set(answer[0]), set(answer[1])\n",
            ),
        ],
        BRIDGE_ALONE,
    ),
    _mutant(
        "group-at-end",
        "the group is made at $",
        _ENDS,
        [
            Edit(
                _GROUP,
                'xgroup_create(self.stream, self.group, id="0", mkstream=True)',
                'xgroup_create(self.stream, self.group, id="$", mkstream=True)',
            )
        ],
        BRIDGE_ALONE,
        f"{_BRIDGE}::test_entries_from_before_the_group_are_not_skipped",
    ),
    _mutant(
        "consumer-deleted",
        "a silent consumer is deleted with what it holds",
        _ENDS,
        [Edit(_GROUP, "facts.name ~= ARGV[3] and facts.pending == 0 and", "facts.name ~= ARGV[3] and")],
        BRIDGE_ALONE,
        f"{_BRIDGE}::test_only_idle_and_empty_consumers_are_retired",
    ),
    _mutant(
        "reads-only-new",
        "the bridge reads neither its own pending entries nor stale ones",
        _ENDS,
        [
            Edit(
                _GROUP,
                "return self._own_pending() or self._stale() or self._new(block_ms)",
                "return self._new(block_ms)",
            )
        ],
        BRIDGE_ALONE,
        f"{_BRIDGE}::test_a_restarted_bridge_finishes_its_own_entries_first",
    ),
    _mutant(
        "stale-bridge-publishes",
        "the bridge publishes entries that another one has ended",
        "an entry is in at most one message",
        [Edit(_GROUP, "  local whole = #pending == count\n", "  local whole = true\n")],
        f"{_BRIDGE}::test_a_bridge_that_was_overtaken_publishes_nothing_again",
        f"{_BRIDGE}::test_a_message_whose_entries_were_partly_ended_is_not_published_and_the_rest_goes_alone",
    ),
)

_SWEEPS: Final = (
    _mutant(
        "no-sweeper",
        "nobody hints again",
        _ENDS,
        [
            Edit(
                _SWEEPER,
                "        for look in random.sample(looks, len(looks)):\n"
                "            self._feed(look, tick, elapsed, deadline)\n",
                "        return\n",
            )
        ],
        EVERY_FAULT,
    ),
    _mutant(
        "gated-on-unacked",
        "the sweeper waits while messages are ready or unacknowledged",
        _ENDS,
        [
            Edit(
                "dispatch/dispatcher.py",
                "            pipeline.xlen(stream)\n",
                '            pipeline.hlen("unacked")\n            pipeline.xlen(stream)\n',
            ),
            Edit(
                _SWEEPER,
                "        self._look_for_lost_hints(look)\n        if look.has_expired_lease",
                "        self._look_for_lost_hints(look)\n"
                "        if self._ready[look.pool.name]:\n"
                "            return\n"
                "        if look.has_expired_lease",
            ),
        ],
        EVERY_FAULT,
    ),
    _mutant(
        "gated-on-backlog",
        "the sweeper sends nothing while the ready lists are long",
        _RESCUED,
        [
            Edit(
                _SWEEPER,
                "        return self._allowance(self._trickle, look.pool, elapsed)\n",
                "        return 0\n",
            )
        ],
        f"{_JOBS}/test_sweeper.py::test_ready_lists_over_twice_the_window_slow_hints_down_but_never_stop_them",
    ),
    _mutant(
        "depth-counts-pending",
        "what consumers hold counts as ready",
        _RESCUED,
        [
            Edit(
                "dispatch/dispatcher.py",
                "max(0, _count(in_stream) - _pending_count(pending))",
                "max(_count(in_stream), _pending_count(pending))",
            )
        ],
        "tests/integration/test_dispatch.py::test_ready_depth_counts_lists_and_unread_entries_only",
    ),
    _mutant(
        "window-counts-lost-hints",
        "a hint takes room of the window also after its grace",
        _ENDS,
        [
            Edit(
                _SWEEP,
                "AND hinted_at IS NOT NULL\n"
                "              AND next_dispatch_at > statement_timestamp()\n"
                "            ORDER BY next_dispatch_at LIMIT %(hinted_limit)s) h),",
                "AND hinted_at IS NOT NULL\n            ORDER BY next_dispatch_at LIMIT %(hinted_limit)s) h),",
            )
        ],
        EVERY_FAULT,
    ),
    _mutant(
        "lost-at-ceiling-stays",
        "nobody fails a lease that ran out at the attempt ceiling",
        _ENDS,
        [Edit(_SWEEPER, "            self._fail_lost(look, tick)\n", "            pass\n")],
        LIFE,
        f"{_JOBS}/test_sweeper.py::test_lost_worker_at_the_ceiling_is_dead_lettered_and_neighbours_go_on",
    ),
    _mutant(
        "epoch-ignored",
        "a Redis that lost everything makes no hint due",
        _RESCUED,
        [
            Edit(
                _SWEEP,
                "        next_dispatch_at = least(next_dispatch_at,\n",
                "        next_dispatch_at = greatest(next_dispatch_at,\n",
            )
        ],
        f"{_JOBS}/test_sweeper.py::test_new_epoch_makes_older_hints_due",
    ),
    _mutant(
        "hint-keeps-its-generation",
        "the sweeper hints again under the old generation",
        "a refused hint undoes no newer one",
        [
            Edit(
                _SWEEP,
                "dispatch_gen = dispatch_gen + CASE WHEN hold OR wait THEN 0 ELSE 1 END,",
                "dispatch_gen = dispatch_gen,",
            )
        ],
        f"{_JOBS}/test_sweeper.py::test_a_refused_hint_undoes_no_newer_one",
    ),
)

_CLAIMS: Final = (
    _mutant(
        "claim-reads-next-dispatch-at",
        "a claim takes next_dispatch_at for the earliest start",
        _ENDS,
        [
            Edit(
                _ATTEMPT,
                "{QUEUED} AND (not_before IS NULL OR not_before <= clock_timestamp())",
                "{QUEUED} AND (not_before IS NULL OR true) AND next_dispatch_at <= clock_timestamp()",
            )
        ],
        EVERY_FAULT,
        LIFE,
    ),
    _mutant(
        "claim-ignores-lease",
        "a claim takes a running job from whoever holds it",
        _STALE,
        [
            Edit(
                _ATTEMPT,
                "                       OR {RUNNING} AND lease_until < clock_timestamp()))\n",
                "                       OR {RUNNING}))\n",
            )
        ],
        LIFE,
        f"{_JOBS}/test_attempt.py::test_claims_nothing_twice",
    ),
    _mutant(
        "lease-by-worker-clock",
        "a claim writes lease_until by the worker's clock",
        _ENDS,
        [
            Edit("jobs/claim.py", "import json\nimport secrets\n", "import json\nimport secrets\nimport time\n"),
            Edit("jobs/claim.py", '"alone": len(job_ids) == 1,', '"alone": len(job_ids) == 1, "now": time.time(),'),
            Edit(
                _ATTEMPT,
                "lease_until = clock_timestamp() + {lease()}, next_dispatch_at = clock_timestamp() + {lease()}\n"
                "        WHERE id = ANY(%(ids)s::uuid[])\n",
                "lease_until = to_timestamp(%(now)s::float8) + {lease()},\n"
                "            next_dispatch_at = to_timestamp(%(now)s::float8) + {lease()}\n"
                "        WHERE id = ANY(%(ids)s::uuid[])\n",
            ),
        ],
        EVERY_FAULT,
    ),
    _mutant(
        "token-kept-at-rescue",
        "the claim of an expired lease keeps its token",
        _STALE,
        [
            Edit(
                _ATTEMPT,
                "            lease_token = lease_token + 1, leased_by = %(leased_by)s, claim_key = %(key)s,\n",
                "            lease_token = lease_token + CASE WHEN {RUNNING} THEN 0 ELSE 1 END,\n"
                "            leased_by = %(leased_by)s, claim_key = %(key)s,\n",
            )
        ],
        EVERY_FAULT,
        LIFE,
    ),
)

_ENDS_OF_ATTEMPTS: Final = (
    _mutant(
        "no-fence",
        "a finish names the job alone",
        _ONCE,
        [
            Edit(
                _ATTEMPT,
                'AND {RUNNING} AND lease_token = (%(tokens)s::bigint[])[{_PLACE}]"',
                'AND %(tokens)s::bigint[] IS NOT NULL"',
            )
        ],
        EVERY_FAULT,
        LIFE,
    ),
    _mutant(
        "fence-by-state-alone",
        "a finish wants RUNNING, and whoever's token",
        _STALE,
        [
            Edit(
                _ATTEMPT,
                'AND {RUNNING} AND lease_token = (%(tokens)s::bigint[])[{_PLACE}]"',
                'AND {RUNNING} AND %(tokens)s::bigint[] IS NOT NULL"',
            )
        ],
        EVERY_FAULT,
        LIFE,
    ),
    _mutant(
        "effect-outside-transaction",
        "effects have transactions of their own, before the finish",
        _ONCE,
        [
            Edit(
                "jobs/finish.py",
                "    with nullcontext() if is_alone else transaction.atomic(durable=True):\n",
                "    for _, done in attempts:\n"
                "        for effect in done.effects:\n"
                "            effect()\n"
                "    with nullcontext() if is_alone else transaction.atomic(durable=True):\n",
            ),
            Edit(
                "jobs/finish.py",
                "        effect()\n        _refuse_a_lost_transaction()\n",
                "        _refuse_a_lost_transaction()\n",
            ),
        ],
        EVERY_FAULT,
        LIFE,
    ),
    _mutant(
        "files-without-token",
        "attempts of a job share the keys of their files",
        _STALE,
        [
            Edit(
                "jobs/context.py",
                'return f"jobs/{self.id}/{self.lease_token}/{name}"',
                'return f"jobs/{self.id}/{name}"',
            )
        ],
        "tests/integration/ndvi/test_late_files.py",
    ),
    _mutant(
        "token-kept-at-retry",
        "a retry does not raise the token",
        _STALE,
        [
            Edit(
                _ATTEMPT,
                "UPDATE job SET state = 'QUEUED', lease_token = lease_token + 1, lease_until = NULL, leased_by = '',\n"
                "            attempt = attempt - (SELECT",
                "UPDATE job SET state = 'QUEUED', lease_until = NULL, leased_by = '',\n"
                "            attempt = attempt - (SELECT",
            )
        ],
        EVERY_FAULT,
        LIFE,
    ),
    _mutant(
        "token-kept-at-hand-back",
        "a hand-back does not raise the token",
        _STALE,
        [
            Edit(
                _ATTEMPT,
                "UPDATE job SET state = 'QUEUED', lease_token = lease_token + 1, lease_until = NULL, leased_by = '',\n"
                "            attempt = attempt - 1,",
                "UPDATE job SET state = 'QUEUED', lease_until = NULL, leased_by = '',\n"
                "            attempt = attempt - 1,",
            )
        ],
        EVERY_FAULT,
        LIFE,
    ),
    _mutant(
        "attempt-kept-at-hand-back",
        "a hand-back counts as an attempt",
        _LETTERED,
        [
            Edit(
                _ATTEMPT,
                "            attempt = attempt - 1, next_dispatch_at = clock_timestamp(), hinted_at = NULL\n",
                "            next_dispatch_at = clock_timestamp(), hinted_at = NULL\n",
            )
        ],
        LIFE,
        f"{_JOBS}/test_attempt.py::test_hand_back_restores_the_attempt_and_makes_it_due",
    ),
    _mutant(
        "no-dead-letter",
        "a lost job fails without a letter",
        _LETTERED,
        [
            Edit(
                _SWEEP,
                """reason="'worker_lost'")}\n    ), dead AS ({DEAD_LETTER.format(reason="'worker_lost'")})\n""",
                """reason="'worker_lost'")})\n""",
            ),
            Edit(_SWEEP, "from jobs.sql.fragments import DEAD_LETTER, ", "from jobs.sql.fragments import "),
        ],
        LIFE,
    ),
)

MUTANTS: Final = (*_ACCEPT, *_BRIDGES, *_SWEEPS, *_CLAIMS, *_ENDS_OF_ATTEMPTS)
