"""`manage.py list_api_keys`: every key without its secret."""

from typing import Any

from django.core.management.base import BaseCommand

from jobs.keys import ApiKey


class Command(BaseCommand):
    help = "Lists API keys: id, owner, scopes, limit, last use, state."

    def handle(self, *args: object, **options: Any) -> None:  # noqa: ANN401 - argparse
        for key in ApiKey.objects.order_by("created_at"):
            self.stdout.write(_line(key))


def _line(key: ApiKey) -> str:
    limit = f"{key.rate_limit}/min" if key.rate_limit else "default limit"
    used = f"used {key.last_used_at:%Y-%m-%d %H:00}" if key.last_used_at else "never used"
    state = f"revoked {key.revoked_at:%Y-%m-%d %H:%M}" if key.revoked_at else "live"
    return "  ".join((f"hf_{key.id}", key.owner, ",".join(key.scopes), limit, used, state, key.note)).rstrip()
