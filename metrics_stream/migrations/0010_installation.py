import uuid

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('metrics_stream', '0009_shares_of_owners'),
    ]

    operations = [
        migrations.CreateModel(
            name='Installation',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('uid', models.UUIDField(default=uuid.uuid4, editable=False)),
            ],
            options={
                'verbose_name_plural': 'installation',
            },
        ),
    ]
