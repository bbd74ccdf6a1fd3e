"""`manage.py revoke_api_key hf_k3j9x2ab`: the key stops working with the next request."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from jobs import keys


class Command(BaseCommand):
    help = "Revokes an API key by its id."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("key", help="hf_<id>, as list_api_keys prints it; the secret is not needed")

    def handle(self, *args: object, **options: Any) -> None:  # noqa: ANN401 - argparse
        key_id = options["key"].removeprefix("hf_").split("_")[0]
        if not keys.revoke(key_id):
            raise CommandError(f"no live key hf_{key_id}: run `python manage.py list_api_keys`")
        self.stdout.write(f"hf_{key_id} is revoked")
