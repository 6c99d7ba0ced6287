"""Where the parts of this checkout are."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = str(VENV / "bin" / "python")
MANAGE = str(ROOT / "manage.py")
VAR = ROOT / "var"
