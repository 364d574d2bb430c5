"""The wheel: what ``pip install .`` brings, the networks that ship among it."""

import subprocess
import sys
import zipfile
from pathlib import Path

import digitnet

ROOT = Path(__file__).parent.parent


def test_the_wheel_carries_the_package_and_its_networks(tmp_path):
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, ROOT]
    subprocess.run(pip, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name == f"digitnet-{digitnet.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        sources = {f"digitnet/{p.relative_to(ROOT / 'digitnet')}" for p in (ROOT / "digitnet").rglob("*.py")}
        assert sources <= names
        for network in ("pretrained-cnn", "pretrained-mlp"):
            shipped = archive.read(f"digitnet/pretrained/{network}.safetensors")
            assert shipped == (ROOT / "checkpoints" / f"{network}.safetensors").read_bytes()
            assert len(shipped) < 6_000_000
    assert not [name for name in names if name.startswith(("tests/", "scripts/"))]
