"""An index in words, from the result of ndvi.compute. Pure."""

from collections.abc import Mapping
from typing import Any, Final

#: Lower bound of the mean -> what a field with it looks like.
_COVER: Final = (
    (0.6, "dense canopy"),
    (0.4, "closed canopy"),
    (0.25, "sparse growth"),
    (0.1, "mostly bare soil"),
    (-1.0, "bare ground or water"),
)
_KEPT: Final = ("count", "valid_share", "mean", "p10", "p50", "p90")


def summary_of(result: Mapping[str, Any], *, farm_id: str) -> Mapping[str, Any]:
    """The figures that matter and one sentence."""
    statistics, source = result["statistics"], result.get("source") or {}
    return {
        "farm_id": farm_id,
        "taken_at": source.get("taken_at"),
        "cloud_cover": source.get("cloud_cover"),
        **{name: statistics[name] for name in _KEPT},
        "sentence": _sentence(statistics, farm_id, source.get("taken_at")),
    }


def _sentence(statistics: Mapping[str, Any], farm_id: str, taken_at: str | None) -> str:
    place = f"Farm {farm_id}" if farm_id else "The scene"
    day = f" on {taken_at[:10]}" if taken_at else ""
    mean = statistics["mean"]
    if mean is None:
        return f"{place}{day}: no pixel could be measured."
    cover = next(words for bound, words in _COVER if mean >= bound)
    spread = f"{statistics['p10']:.2f} to {statistics['p90']:.2f}"
    return f"{place}{day}: mean NDVI {mean:.2f} ({cover}), eight pixels in ten from {spread}."
