"""What a `callback_url` may look like. Where it leads is asked at delivery: a name's addresses change."""

import httpx


def url_problem(url: str) -> str | None:
    """What is wrong with the URL, with the fix; None = nothing. Looks nothing up."""
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL as error:
        return f"is no URL ({error}): use e.g. https://example.org/hook"
    if parts.scheme not in ("http", "https") or not parts.host:
        return "is not an http or https URL with a host"
    if parts.userinfo:
        return "carries a user name or a password: remove it, the signature says who calls"
    if parts.fragment:
        return "has a fragment, which is never sent: remove what follows #"
    return None
