"""`make model [ONLY=variant]`: `python3 -m scripts.model`.

Exit status 1 when a promise falls in a sound world, or when a variant does not break its own.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from scripts.model.search import Broken, Exploration, explore
from scripts.model.variants import SOUND, VARIANTS, Variant
from scripts.model.world import Flaw
from scripts.stack import console

#: Sentences of a story that the table shows; ONLY shows all.
_LAST_SENTENCES: Final = 2


def main(argv: Sequence[str] = ()) -> int:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args(argv)
    only = os.environ.get("ONLY") or ""
    if not only:
        return _prove()
    chosen = [variant for variant in VARIANTS if variant.name == only]
    if not chosen:
        names = "\n  ".join(variant.name for variant in VARIANTS)
        console.warn(f"error: ONLY={only} is no variant. There are:\n  {names}")
        return 2
    return int(not _tell(chosen[0]))


def _prove() -> int:
    """Everything: the sound worlds whole, and each variant until it breaks a promise."""
    console.say("The sound model, explored whole:")
    console.say(f"  {'states':>9}  {'steps':>10}  {'s':>5}")
    held = [_holds(explore(world)) for world in SOUND]
    console.say("\nBroken on purpose, one thing each (all of a story: make model ONLY=…):")
    caught = [_is_caught(variant) for variant in VARIANTS]
    console.say(
        f"\n{sum(held)} of {len(held)} sound worlds hold, {sum(caught)} of {len(caught)} broken variants are caught"
    )
    return int(not all(held + caught))


def _holds(found: Exploration) -> bool:
    """Says what was found."""
    world = found.world
    what = f"{world.name}, up to {world.faults} faults"
    console.say(f"  {found.states:>9,}  {found.steps:>10,}  {found.seconds:>5.1f}  {what}: {_verdict(found.broken)}")
    for sentence in found.broken.story if found.broken else ():
        console.say(f"      {sentence}")
    return found.broken is None


def _verdict(broken: Broken | None) -> str:
    return broken.promise.value if broken else "0 violations"


def _is_caught(variant: Variant) -> bool:
    """Caught = the variant breaks its promise in a world in which the sound system keeps them all."""
    found, sound = _with_and_without(variant)
    if not _is_sound(sound):
        return False
    if found.broken is None:
        console.say(f"  {variant.name}: SURVIVES all {found.states:,} states ({variant.what})")
        console.say(f"      {_breaks_instead(variant)}")
        return False
    story = found.broken.story
    console.say(f"  {variant.name}: {variant.what}")
    console.say(f"      {_verdict(found.broken)}. Step {len(story)}, {found.states:,} states seen:")
    console.say(f"      … {'; '.join(story[-_LAST_SENTENCES:])}")
    return True


def _breaks_instead(variant: Variant) -> str:
    broken = explore(variant.world).broken
    return f"it is to break {variant.breaks.name}, and breaks {broken.promise.name if broken else 'nothing'}"


def _tell(variant: Variant) -> bool:
    """One variant with all of its story."""
    found, sound = _with_and_without(variant)
    if found.broken is None:
        return _is_caught(variant)
    if not _is_sound(sound):
        return False
    console.say(f"{variant.name}: {variant.what}")
    console.say(f"{_verdict(found.broken)}")
    for number, sentence in enumerate(found.broken.story, 1):
        console.say(f"  {number:>2}  {sentence}")
    console.say(f"{found.states:,} states seen; without the flaw the same world has {sound.states:,} and keeps all")
    return True


def _is_sound(sound: Exploration) -> bool:
    """Says something only when it is not."""
    return sound.broken is None or _holds(sound)


def _with_and_without(variant: Variant) -> tuple[Exploration, Exploration]:
    return explore(variant.world, variant.breaks), explore(replace(variant.world, flaw=Flaw.NONE))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
