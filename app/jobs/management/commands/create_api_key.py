"""`manage.py create_api_key --owner farm-a --scopes read,submit`: prints the new key, once."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from jobs import keys


class Command(BaseCommand):
    help = "Creates an API key and prints it. It is shown this once: only its SHA-256 is stored."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--owner", required=True, help="account whose jobs the key submits and sees")
        parser.add_argument("--scopes", default="read,submit", help="of read, submit, operate; comma-separated")
        parser.add_argument("--rate-limit", type=int, default=None, help="requests per minute; default API_RATE_LIMIT")
        parser.add_argument("--note", default="", help="what the key is for")

    def handle(self, *args: object, **options: Any) -> None:  # noqa: ANN401 - argparse
        scopes = [scope.strip() for scope in options["scopes"].split(",") if scope.strip()]
        try:
            created = keys.create(
                owner=options["owner"], scopes=scopes, rate_limit=options["rate_limit"], note=options["note"]
            )
        except keys.KeyInvalid as error:
            raise CommandError(str(error)) from error
        self.stdout.write(created.text)
