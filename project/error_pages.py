"""What the error pages of DEBUG hide."""

import re

from django.views.debug import SafeExceptionReporterFilter


class SecretsFilter(SafeExceptionReporterFilter):
    """Hides what Django hides, and the settings and variables whose addresses contain passwords."""

    hidden_settings = re.compile(
        f"{SafeExceptionReporterFilter.hidden_settings.pattern}|_URL$|^CHANNEL_LAYERS$|^DATABASES$|^CACHES$|DSN",
        flags=re.IGNORECASE,
    )
