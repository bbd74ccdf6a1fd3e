from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("ndvi", "0001_initial"),
        ("jobs", "0001_initial"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="scene",
            index=models.Index(fields=["created_at"], name="ndvi_scene_age"),
        ),
        # On the platform's table, for our kind alone: which scenes are in use.
        migrations.RunSQL(
            sql="CREATE INDEX ndvi_job_scene ON job ((params ->> 'scene'))"
            " WHERE kind = 'ndvi.compute' AND thinned_at IS NULL",
            reverse_sql="DROP INDEX ndvi_job_scene",
        ),
    ]
