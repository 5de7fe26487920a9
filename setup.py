"""What pyproject.toml cannot say: the playbooks are installed beside the package, wherever they grow to."""

from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent
FOLDERS = sorted({path.parent.relative_to(ROOT) for path in (ROOT / "playbooks").rglob("*") if path.is_file()})

setup(
    data_files=[
        (
            f"share/usernetes-deploy/{folder}",
            sorted(str(path.relative_to(ROOT)) for path in (ROOT / folder).iterdir() if path.is_file()),
        )
        for folder in FOLDERS
        if "__pycache__" not in folder.parts
    ]
)
