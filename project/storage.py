"""Static file storage for production."""

from servestatic.storage import CompressedManifestStaticFilesStorage


class ModuleManifestStorage(CompressedManifestStaticFilesStorage):  # type: ignore[misc]  # servestatic is untyped
    """Hashed and compressed files whose ES-module imports point at the hashed names too."""

    support_js_module_import_aggregation = True
