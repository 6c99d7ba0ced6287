from django.db import migrations, models

from metrics_stream.models.changes import installed_only

SIZES = [("tiny", "Tiny"), ("small", "Small"), ("medium", "Medium"), ("large", "Large"), ("full", "Full width")]


class Migration(migrations.Migration):

    dependencies = [
        ("metrics_stream", "0017_keys_of_rows"),
    ]

    operations = installed_only(
        [
            migrations.AlterField(
                model_name=name,
                name="size",
                field=models.CharField(choices=SIZES, default="medium", max_length=10),
            )
            for name in ("historicalpanel", "panel")
        ]
    )
