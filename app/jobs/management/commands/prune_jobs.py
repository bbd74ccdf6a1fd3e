"""`manage.py prune_jobs`: what the sweeper does a batch at a time, now and to the end."""

from typing import Any

from django.core.management.base import BaseCommand

from jobs import retention
from jobs.orphans import OrphanFiles


class Command(BaseCommand):
    help = "Removes what is older than RETENTION_DAYS and DEDUP_DAYS, batch by batch."

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - Django's signature
        thinned = forgotten = files = 0
        while True:
            step = retention.prune_step()
            thinned, forgotten, files = thinned + step.thinned, forgotten + step.forgotten, files + step.files
            if step.is_done:
                break
        orphans, found = OrphanFiles(), 0
        while True:
            swept = orphans.step()
            found += swept.files
            if swept.is_done:
                break
        self.stdout.write(
            f"{thinned} jobs thinned, {forgotten} rows forgotten, {files} files and {found} orphans deleted"
        )
