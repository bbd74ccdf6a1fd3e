"""`handover`: another Redis node leads, and no acknowledged write is lost.

`SENTINEL FAILOVER` loses about a second of them: the former primary takes writes until it is demoted. Here writes
pause, the replicas catch up, Redis's own FAILOVER swaps the roles, and the Sentinels hear of it as of a switch that one
of them made. That last step rests on Sentinel's greeting (channel __sentinel__:hello), the same since Redis 2.8 and
still internal: where a Sentinel does not take it, Sentinel itself switches a second time after about 26 s.

Whoever dies in the middle leaves one of two states: paused writes, which go on by themselves after PAUSE_MS, or swapped
roles that the Sentinels do not know. The next call finishes the second.
"""

import argparse
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from scripts.stack import console
from scripts.stack.deployment import Stack
from scripts.stack.errors import StackError
from scripts.stack.redis_nodes import PRIMARY_NAME, REDIS, REDIS_PORT, SENTINEL_PORT, SENTINELS, RedisNodes
from scripts.stack.resp import RespClient, RespError
from scripts.stack.waiting import wait_until

#: Milliseconds for which writes pause at most, and how many must be left when the roles are swapped.
PAUSE_MS: Final = 3000
_LEFT_SECONDS: Final = 1.0
#: Seconds for each wait: both replicas are in step, which one that has just loaded says a second later; they reach the
#: offset; the swap; Sentinel's greetings, one every two; all agree.
IN_STEP_SECONDS: Final = 5.0
CATCH_UP_SECONDS: Final = 1.0
SWAP_SECONDS: Final = 2.0
GREETING_SECONDS: Final = 20.0
AGREE_SECONDS: Final = 30.0
#: Seconds by which a replica's last word may be old.
MOST_LAG: Final = 1
#: One of them tells it to the other.
LEAST_SENTINELS: Final = 2

_INTERRUPTIONS: Final = (signal.SIGINT, signal.SIGTERM)
_LOOK: Final = 0.002
_HELLO: Final = "__sentinel__:hello"
_AGAIN: Final = "make handover"


@dataclass(frozen=True)
class Sentinel:
    """One Sentinel as the others know it."""

    client: RespClient
    address: str
    run_id: str
    epoch: int  #: the highest that it has seen


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--to", choices=sorted(REDIS), help="the node that is to lead; default the best replica")


def run(arguments: argparse.Namespace, stack: Stack) -> int:
    require_sentinels(stack)
    nodes = RedisNodes(stack)
    began = time.monotonic()
    former = nodes.elected()
    leader = hand_over(nodes, to=arguments.to)
    console.say(f"{former} -> {leader} in {time.monotonic() - began:.2f} s; three Sentinels agree.")
    return 0


def require_sentinels(stack: Stack) -> None:
    """Raises StackError for a stack of one Redis."""
    if stack.topology != "sentinel":
        raise StackError(f"{stack.project} runs one Redis: nobody can take over.", fix="make up TOPOLOGY=sentinel")


def hand_over(nodes: RedisNodes, *, to: str | None = None) -> str:
    """The node that leads now. Finishes what an earlier call left. Raises StackError; writes then go on as before."""
    if swapped := _swapped(nodes):
        with _connected(nodes, swapped, needs_all=False) as (clients, sentinels):
            _announce(nodes, clients, sentinels, swapped)
        return _verified(nodes, swapped)
    if not (former := nodes.leader_of_whole()):
        raise StackError("Not every node and Sentinel is there and agrees: nothing was handed over.", fix="make ps")
    best = best_replica(nodes, former)
    successor = to or best
    if successor == former:
        raise StackError(f"{former} leads already.", fix=_AGAIN)
    with _connected(nodes, former) as (clients, sentinels), _paused(clients[former]):
        ends_at = time.monotonic() + PAUSE_MS / 1000
        _await_offsets(clients, former)
        if ends_at - time.monotonic() < _LEFT_SECONDS:
            raise StackError("The replicas took too long: nothing was handed over.", fix=_AGAIN)
        with _uninterrupted():
            _swap(nodes, clients[former], successor)
            _announce(nodes, clients, sentinels, successor)
    return _verified(nodes, successor)


def best_replica(nodes: RedisNodes, primary: str) -> str:
    """The replica that is furthest. Raises StackError when one of them goes on lagging."""
    return wait_until(
        lambda: furthest_in_step(nodes, primary),
        within=IN_STEP_SECONDS,
        otherwise=f"A replica of {primary} is not in step: nothing was handed over",
        fix="make ps",
    )


def furthest_in_step(nodes: RedisNodes, primary: str) -> str:
    """The replica that is furthest, "" while one of them is missing or lags."""
    facts = nodes.info(primary, "replication")
    replicas = [replica_fields(facts[f"slave{number}"]) for number in range(int(facts.get("connected_slaves", 0)))]
    if len(replicas) < len(REDIS) - 1 or not all(_is_in_step(one) for one in replicas):
        return ""
    return nodes.node_of(max(replicas, key=lambda one: int(one["offset"]))["ip"])


def replica_fields(line: str) -> dict[str, str]:
    """`ip=10.0.0.1,port=6379,state=online,…` of INFO replication."""
    return dict(pair.split("=", 1) for pair in line.split(","))


def _is_in_step(replica: dict[str, str]) -> bool:
    return replica["state"] == "online" and int(replica["lag"]) <= MOST_LAG


def _swapped(nodes: RedisNodes) -> str:
    """The node that leads although the Sentinels name another, which follows it; "" when there is none such."""
    named, leading = nodes.elected(), nodes.primaries()
    if not named or len(leading) != 1 or leading == [named]:
        return ""
    return leading[0] if nodes.info(named, "replication").get("master_host") == nodes.address(leading[0]) else ""


@contextmanager
def _connected(
    nodes: RedisNodes, leader: str, *, needs_all: bool = True
) -> Iterator[tuple[dict[str, RespClient], list[Sentinel]]]:
    """All six before anything pauses; to finish what was begun, who is there and at least two Sentinels."""
    try:
        with ExitStack() as open_:
            clients = _clients(open_, nodes, REDIS, needs_all=needs_all)
            asked = _clients(open_, nodes, SENTINELS, needs_all=needs_all)
            if len(asked) < LEAST_SENTINELS:
                raise StackError("Fewer than two Sentinels answer: nobody can tell them who leads.", fix="make ps")
            epochs = _greeted_epochs(nodes, leader, {nodes.address(name) for name in asked})
            yield clients, [_sentinel(client, nodes.address(name), epochs) for name, client in asked.items()]
    except (OSError, RespError) as error:
        raise StackError(f"A node did not answer while it was needed: {error}.", fix=_AGAIN) from error


def _clients(open_: ExitStack, nodes: RedisNodes, names: Iterable[str], *, needs_all: bool) -> dict[str, RespClient]:
    found = {}
    for name in names:
        try:
            found[name] = open_.enter_context(nodes.client(name, timeout=2.0))
        except (OSError, RespError):
            if needs_all:
                raise
    return found


def _sentinel(client: RespClient, address: str, epochs: dict[str, int]) -> Sentinel:
    client.command("SENTINEL", "CKQUORUM", PRIMARY_NAME)  # an error when there is none
    reply = client.command("SENTINEL", "MASTER", PRIMARY_NAME)
    assert isinstance(reply, list)
    words = [str(word) for word in reply]
    state = dict(zip(words[::2], words[1::2], strict=True))
    known = max(int(state["config-epoch"]), int(state.get("voted-leader-epoch", 0)), epochs[address])
    return Sentinel(client, address, str(client.command("SENTINEL", "MYID")), known)


def _greeted_epochs(nodes: RedisNodes, leader: str, wanted: Set[str]) -> dict[str, int]:
    """Address -> current epoch of the Sentinels at `wanted`: only a greeting tells it, on any node that they watch."""
    found: dict[str, int] = {}
    with nodes.client(leader) as client:
        limit = threading.Timer(GREETING_SECONDS, client.interrupt)
        limit.start()
        try:
            for _, greeting in client.listen(_HELLO):
                address, _, _, epoch, *_ = greeting.split(",")
                found[address] = int(epoch)
                if found.keys() >= wanted:
                    return found
        except OSError:
            raise StackError("Not every Sentinel greets the others: nothing was handed over.", fix="make ps") from None
        finally:
            limit.cancel()
    return found


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait: between swap and announcement they would leave Sentinels that know nothing of it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[int] = []
    former = {one: signal.signal(one, lambda number, _: caught.append(number)) for one in _INTERRUPTIONS}
    try:
        yield
    finally:
        for one, handler in former.items():
            signal.signal(one, handler)
        for number in caught[:1]:
            signal.raise_signal(number)


@contextmanager
def _paused(primary: RespClient) -> Iterator[None]:
    """Writes wait; at the end they go on, or are refused by a node that leads no longer."""
    primary.command("CLIENT", "PAUSE", str(PAUSE_MS), "WRITE")
    try:
        yield
    finally:
        with suppress(OSError, RespError):  # it ends by itself
            primary.command("CLIENT", "UNPAUSE")


def _await_offsets(clients: Mapping[str, RespClient], primary: str) -> None:
    """Every replica has all that was acknowledged. Raises StackError."""
    offset = int(_replication(clients[primary])["master_repl_offset"])
    others = [client for node, client in clients.items() if node != primary]
    wait_until(
        lambda: all(int(_replication(one).get("slave_repl_offset", -1)) >= offset for one in others),
        within=CATCH_UP_SECONDS,
        otherwise="A replica did not catch up: nothing was handed over",
        fix=_AGAIN,
        pause=_LOOK,
    )


def _swap(nodes: RedisNodes, former: RespClient, successor: str) -> None:
    """FORCE does not wait for the replicas' word once a second: the offsets are known."""
    former.command("FAILOVER", "TO", nodes.address(successor), str(REDIS_PORT), "FORCE", "TIMEOUT", "1")

    def has_swapped() -> bool:
        facts = _replication(former)
        return facts["role"] == "slave" and facts["master_failover_state"] == "no-failover"

    try:
        wait_until(has_swapped, within=SWAP_SECONDS, otherwise="", pause=_LOOK)
    except StackError:
        with suppress(RespError):  # there is none any more
            former.command("FAILOVER", "ABORT")
        raise StackError(f"{successor} did not take over: look who leads, then repeat.", fix=_AGAIN) from None


def _announce(nodes: RedisNodes, clients: Mapping[str, RespClient], sentinels: Sequence[Sentinel], leader: str) -> None:
    """The Sentinels learn it as if one of the others had switched, and the other replica follows. Whoever is dead or
    frozen by now keeps nobody else from hearing it. Raises StackError when no Sentinel heard.
    """
    address, epoch = nodes.address(leader), max(one.epoch for one in sentinels) + 1
    heard = 0
    for one in sentinels:
        other = next(peer for peer in sentinels if peer.run_id != one.run_id)
        with suppress(OSError, RespError):
            one.client.command("PUBLISH", _HELLO, greeting(other, epoch, address))
            heard += 1
    for node, client in clients.items():
        with suppress(OSError, RespError):
            if node != leader and _replication(client).get("master_host") != address:
                client.command("REPLICAOF", address, str(REDIS_PORT))
    if not heard:
        raise StackError(f"{leader} leads, and no Sentinel heard it.", fix=_AGAIN)


def greeting(sentinel: Sentinel, epoch: int, leader: str) -> str:
    """What a Sentinel says to the others: who it is, the epoch, who leads since which epoch."""
    own = f"{sentinel.address},{SENTINEL_PORT},{sentinel.run_id},{epoch}"
    return f"{own},{PRIMARY_NAME},{leader},{REDIS_PORT},{epoch}"


def _verified(nodes: RedisNodes, leader: str) -> str:
    wait_until(
        lambda: nodes.leader_of_whole() == leader,
        within=AGREE_SECONDS,
        otherwise=f"{leader} leads, and the Sentinels do not agree yet",
        fix=_AGAIN,
        pause=0.05,
    )
    return leader


def _replication(client: RespClient) -> dict[str, str]:
    text = str(client.command("INFO", "replication"))
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
