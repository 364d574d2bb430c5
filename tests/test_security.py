"""SECURITY.md against the program: its limits are the code's, and what it says is never called is not."""

import ast
import re

from conftest import ROOT

from digitnet import config, container, decoding
from digitnet.data import idx

TEXT = " ".join((ROOT / "SECURITY.md").read_text().split())
CODE_RUNS_IN = {"pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle", "subprocess", "runpy"}
NEVER_CALLED = {"eval", "exec", "compile", "__import__"}


def trees():
    return {path: ast.parse(path.read_text("utf-8")) for path in sorted((ROOT / "digitnet").rglob("*.py"))}


def test_limits_are_the_codes():
    assert f"at most {container.MAX_HEADER_BYTES:,} bytes and the file at most {container.MAX_BYTES:,};" in TEXT
    assert f"at most {config.MAX_SIZE:,} units or channels, and there are at most {config.MAX_DEPTH} layers" in TEXT
    assert f"At most {idx.MAX_BYTES:,} bytes are read of one, or unpacked" in TEXT
    assert f"More than {decoding.MAX_MEGAPIXELS} million pixels are refused" in TEXT
    most = decoding._MAX_MEGAPIXELS_OF
    assert list(most) == ["WEBP", "progressive RGB", "progressive CMYK"]
    assert "more than {} of WebP, {} of a progressive JPEG, {} of one in CMYK".format(*most.values()) in TEXT


def test_the_formats_named_are_those_enabled():
    named = re.search(r"Only Pillow's decoders for (.+?) are asked", TEXT)[1]
    assert tuple(re.split(r", | and ", named)) == decoding._FORMATS


def test_nothing_that_runs_code_is_imported_or_called():
    for path, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                module = node.module if isinstance(node, ast.ImportFrom) else None
                roots = {name.split(".")[0] for name in (module, *(a.name for a in node.names)) if name}
                assert not roots & CODE_RUNS_IN, (path, node.lineno)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in NEVER_CALLED, (path, node.lineno)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                check_attribute(path, node)


def check_attribute(path, call):
    owner = call.func.value.id if isinstance(call.func.value, ast.Name) else ""
    assert (owner, call.func.attr) not in {("torch", "load"), ("os", "system"), ("os", "popen")}, (path, call.lineno)
    if (owner, call.func.attr) == ("np", "load"):
        allowed = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert allowed["allow_pickle"] == "False", (path, call.lineno)


def test_only_mnist_and_processes_that_meet_speak_to_the_network():
    speakers = set()
    for path, tree in trees().items():
        for node in ast.walk(tree):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.split(".")[0] in {"urllib", "http", "socket", "requests", "httpx", "ftplib"} for name in names):
                speakers.add(path.name)
    assert speakers == {"mnist.py", "meeting.py"}
