"""Judges what a job system did: reads what its processes wrote down and what its database holds at the end.

Nothing here knows Holdfast, imports anything beside the standard library, or asks a server: another system's history is
judged in the same way once it is written in this form. `python3 -m scripts.checker --help` says how.

Both inputs are JSON Lines in UTF-8: one object per line, in any number of files, in any order. Unknown members are
kept for the story and otherwise ignored. A last line without its newline is what a killed process left and is dropped.

History: one line per event
---------------------------
type     "invoke" before an operation is tried, then one of "ok" (it took place), "fail" (it did not) and "info"
         (nobody knows). A timeout is "info", never "fail": it may have taken place. Whoever is killed in between leaves
         an "invoke" alone, which counts as "info".
op       accept      a job is asked for; "ok" is the promise that it will end
         dispatch, bridge    something tells workers of it, on its way
         claim       an attempt begins; "ok" carries the token that it holds
         finish, fail, cancel    the job ends: well, for good, on request. With the token of the claim that it ends
         retry, hand_back    the attempt ends, the job is open again. With that token
         dead_letter, replay, tick    as named; a replay's "of" is the dead job, a tick has "schedule" and "tick"
         effect      "name" was applied; for systems that can say so in no table
         fault       "ok" = it was broken, or healed: "fault", "target"
actor    who writes: one name per process
call     joins an event to its "invoke"; unique per actor. Absent where there was no "invoke"
job      id, or absent while nobody knows it
request  what a client calls its request, should it not learn an id; also a member of the job's row
gen      number of the hint; token = the lease token; reason, state, hash, kind, name: text
mono     seconds of a monotonic clock; one host has one for all its processes
wall     seconds since 1970

Database: one line per row, at the end
--------------------------------------
{"row": "job", "id", "state", "token"?, "attempt"?, "max_attempts"?, "accepted"?, "ended"?, "hash"?, "request"?,
 "replay_of"?, "parent"?, "schedule"?, "tick"?, "wants"?}
         accepted, ended: seconds since 1970. hash: what at most one live job may have. wants: how many effects a job
         that ends well has applied; absent = not known. parent: the job that asked for it. schedule, tick: as below
{"row": "step", "job", "seq", "from", "to", "token"?, "wall"?, "actor"?, "event"?, "reason"?}
         a transition, in the order of seq; "from" of the first is ""
{"row": "effect", "job", "name", "count"}
         how often it was applied
{"row": "dead_letter", "job"?, "reason", "replayed_as"?}
{"row": "schedule", "name", "due": [tick, …]}
         each tick that had to fire, and no other; ticks are text or numbers, compared as they stand
{"row": "machine", "legal": [[from, to], …], "good": [state], "dead": [state], "lettered": [state], "named": [reason]}
         the states, where they are not the default: QUEUED, RUNNING, SUCCEEDED (good), FAILED and CANCELLED (dead: they
         set the hash free; FAILED has a dead letter). "named" are the reasons that need no used-up attempts
"""
