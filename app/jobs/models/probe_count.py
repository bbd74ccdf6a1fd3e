"""How often the effect of a probe was applied; anything but 1 is a broken promise."""

from django.db import models


class ProbeCount(models.Model):
    """The shape is public: scripts read `probe_count(job_id uuid primary key, n int)`."""

    job_id = models.UUIDField(primary_key=True)
    n = models.IntegerField()

    class Meta:
        db_table = "probe_count"
        # Empty as long as the promise holds: a look for broken ones costs nothing, however many there are.
        indexes = [models.Index(fields=("job_id",), name="probe_count_not_once", condition=~models.Q(n=1))]

    def __str__(self) -> str:
        return f"{self.job_id} {self.n}"
