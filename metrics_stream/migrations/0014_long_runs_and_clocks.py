"""Wide tiers for long runs, and the sources of a run whose clocks were off."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('metrics_stream', '0013_what_runs_say'),
    ]

    operations = [
        migrations.AddField(
            model_name='testrun',
            name='source_clocks',
            field=models.JSONField(blank=True, default=list, editable=False, help_text='Metric types, sources, and by how many seconds their clocks were ahead: their times are corrected.'),
        ),
        migrations.AddField(
            model_name='testrun',
            name='tiers_until',
            field=models.JSONField(blank=True, default=dict, editable=False, help_text='By the width of wide buckets in seconds, the number of the first bucket that is not made yet.'),
        ),
    ]
