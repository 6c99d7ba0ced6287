"""Static file storage for production."""

from servestatic.storage import CompressedManifestStaticFilesStorage


class ModuleManifestStorage(CompressedManifestStaticFilesStorage):  # type: ignore[misc]  # servestatic is untyped
    """Hash and compress files; the imports of ES modules use the hashed names."""

    support_js_module_import_aggregation = True

    # A file is hashed again after the files that it imports: one pass for each module in the longest chain of imports.
    max_post_process_passes = 30
