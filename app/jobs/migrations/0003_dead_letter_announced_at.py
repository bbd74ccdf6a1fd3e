from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0002_api_key"),
    ]

    operations = [
        migrations.AddField(
            model_name="deadletter",
            name="announced_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddIndex(
            model_name="deadletter",
            index=models.Index(
                condition=models.Q(("announced_at__isnull", True)),
                fields=["created_at", "id"],
                name="dead_letter_to_announce",
            ),
        ),
    ]
