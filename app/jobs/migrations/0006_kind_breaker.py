from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0005_claim_key"),
    ]

    operations = [
        migrations.CreateModel(
            name="KindBreaker",
            fields=[
                ("kind", models.CharField(max_length=100, primary_key=True, serialize=False)),
                ("is_open", models.BooleanField()),
                ("changed_at", models.DateTimeField()),
                ("probe_id", models.UUIDField(blank=True, null=True)),
                ("probed_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "db_table": "kind_breaker",
            },
        ),
        migrations.AddField(
            model_name="job",
            name="held",
            field=models.BooleanField(db_default=False),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(("held", True), ("state", "QUEUED")), fields=["kind", "id"], name="job_held"
            ),
        ),
    ]
