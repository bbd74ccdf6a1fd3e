import django.db.models.functions.comparison
import django.db.models.functions.datetime
from django.db import migrations, models

import jobs.ids


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0003_dead_letter_announced_at"),
    ]

    operations = [
        migrations.AddField(
            model_name="job",
            name="stands_for",
            field=models.CharField(blank=True, max_length=300, null=True),
        ),
        # Replays from before stand for themselves (null): two of them may be live and would not fit the new index.
        migrations.RemoveConstraint(model_name="job", name="job_one_live_request"),
        migrations.AddConstraint(
            model_name="job",
            constraint=models.UniqueConstraint(
                models.F("owner"),
                django.db.models.functions.comparison.Coalesce("stands_for", "identity"),
                condition=models.Q(
                    models.Q(("identity__startswith", "req:"), ("identity__startswith", "replay:"), _connector="OR"),
                    models.Q(("state__in", ("FAILED", "CANCELLED")), _negated=True),
                ),
                name="job_one_live_request",
            ),
        ),
        migrations.CreateModel(
            name="ReplayAudit",
            fields=[
                ("id", models.UUIDField(default=jobs.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("actor", models.CharField(max_length=200)),
                ("key_id", models.CharField(blank=True, db_default="", max_length=8)),
                ("filter", models.JSONField(default=dict)),
                ("dry_run", models.BooleanField()),
                ("rate", models.FloatField()),
                ("matched", models.PositiveIntegerField()),
                ("created", models.PositiveIntegerField()),
                ("joined", models.PositiveIntegerField()),
                ("refused", models.PositiveIntegerField()),
            ],
            options={
                "db_table": "replay_audit",
                "indexes": [models.Index(fields=["at"], name="replay_audit_age")],
            },
        ),
    ]
