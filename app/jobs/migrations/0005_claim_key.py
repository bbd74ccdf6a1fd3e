from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0004_replays_stand_for_their_request"),
    ]

    operations = [
        migrations.AddField(
            model_name="job",
            name="claim_key",
            field=models.BigIntegerField(db_default=0),
        ),
    ]
