"""Static file storage for production."""

from servestatic.storage import CompressedManifestStaticFilesStorage


class ModuleManifestStorage(CompressedManifestStaticFilesStorage):  # type: ignore[misc]  # servestatic is untyped
    """Hashed and compressed files whose ES-module imports point at the hashed names too."""

    support_js_module_import_aggregation = True

    # A file is hashed again after what it imports, so it takes as many passes as there are modules in the longest row.
    max_post_process_passes = 30
