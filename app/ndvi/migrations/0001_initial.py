from django.db import migrations, models

import jobs.ids


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Scene",
            fields=[
                ("id", models.UUIDField(default=jobs.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ("owner", models.CharField(max_length=200)),
                ("name", models.CharField(max_length=200)),
                ("key", models.CharField(max_length=500)),
                ("bytes", models.BigIntegerField()),
                ("width", models.PositiveIntegerField()),
                ("height", models.PositiveIntegerField()),
                ("bands", models.PositiveIntegerField()),
                ("dtype", models.CharField(max_length=20)),
                ("crs", models.TextField(blank=True, default="")),
                ("source", models.JSONField(blank=True, default=dict)),
                ("job_id", models.UUIDField(blank=True, null=True)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
            ],
            options={
                "db_table": "ndvi_scene",
                "indexes": [models.Index(fields=["owner", "-created_at"], name="ndvi_scene_by_owner")],
            },
        ),
    ]
