"""Static or not: read from the binary itself."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from usernetes_deploy.bundle import elf


def test_a_dynamic_binary_names_its_loader() -> None:
    assert "ld-" in (elf.interpreter(Path(sys.executable).resolve()) or "")


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc here")
def test_a_static_binary_has_none(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("int main(void) { return 0; }\n")
    subprocess.run(["gcc", "-static", "-o", tmp_path / "a", tmp_path / "a.c"], check=True)
    assert elf.interpreter(tmp_path / "a") is None


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\n" * 20, b"\x7fELF\x01" + b"\0" * 100])
def test_what_is_no_64_bit_elf_is_an_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match="is not a 64-bit ELF binary"):
        elf.interpreter(tmp_path / "file")
