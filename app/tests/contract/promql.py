"""The names in a PromQL expression, found without a parser: enough to compare them with the catalogue."""

import re

KEYWORDS = frozenset(
    {"and", "or", "unless", "bool", "offset", "by", "without", "on", "ignoring", "group_left", "group_right"}
)

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'')
_MATCHERS = re.compile(r"\{[^{}]*\}")
_RANGE = re.compile(r"\[[^\]]*\]")
_LABEL_LIST = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^()]*\)")
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*(?!\s*\()(?![a-zA-Z0-9_:])")
_NUMBER = re.compile(r"\b\d[\w.]*")


def metric_names(expression: str) -> set[str]:
    """Names of the series that the expression reads; functions, labels, numbers and durations are left out."""
    text = _STRING.sub('""', expression)
    for pattern in (_MATCHERS, _RANGE, _LABEL_LIST, _NUMBER):
        text = pattern.sub(" ", text)
    return set(_NAME.findall(text)) - KEYWORDS
