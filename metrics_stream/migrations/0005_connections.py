from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('metrics_stream', '0004_access'),
    ]

    operations = [
        migrations.CreateModel(
            name='Connection',
            fields=[
                ('client_id', models.CharField(max_length=32, primary_key=True, serialize=False)),
                ('who', models.CharField(max_length=200)),
                ('address', models.CharField(max_length=200)),
            ],
            options={
                'permissions': [('disconnect_connection', 'Can disconnect connection')],
                'managed': False,
                'default_permissions': ('view',),
            },
        ),
    ]
