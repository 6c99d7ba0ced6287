from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("metrics_stream", "0013_what_runs_say"),
    ]

    operations = [
        migrations.AddField(
            model_name="seriesgroup",
            name="units",
            field=models.JSONField(default=dict),
        ),
        migrations.AddField(
            model_name="seriesgroup",
            name="windows",
            field=models.JSONField(default=dict),
        ),
    ]
