"""Static file storage for production."""

from servestatic.storage import CompressedManifestStaticFilesStorage


class ModuleManifestStorage(CompressedManifestStaticFilesStorage):  # type: ignore[misc]  # servestatic is untyped
    """Hash and compress files; the imports of ES modules use the hashed names."""

    support_js_module_import_aggregation = True

    def stored_name(self, name: str) -> str:
        """Return the hashed name of a file; its own one if `collectstatic` has not collected it.

        The page then lacks that file, instead of being an error; `manage.py check` and the server's log say so.
        """
        try:
            hashed: str = super().stored_name(name)
        except ValueError:
            return name
        return hashed

    # A file is hashed again after the files that it imports: one pass for each module in the longest chain of imports.
    max_post_process_passes = 30
