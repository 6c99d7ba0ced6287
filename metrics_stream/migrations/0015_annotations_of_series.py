from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("metrics_stream", "0014_long_runs_and_clocks"),
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
