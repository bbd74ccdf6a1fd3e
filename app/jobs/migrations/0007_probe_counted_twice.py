from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0006_kind_breaker"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="probecount",
            index=models.Index(
                condition=models.Q(("n", 1), _negated=True), fields=["job_id"], name="probe_count_not_once"
            ),
        ),
    ]
