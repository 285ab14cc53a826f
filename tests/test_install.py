"""The built wheel in an environment of its own, outside the clone, with what it requires alone."""

import csv
import importlib.metadata
import io
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from PIL import Image

from bone_age_tf.catalog import SHIPPED_MODEL
from bone_age_tf.prepare import draw_radiographs
from bone_age_tf.reader import load
from image_files import faulty_films

pytestmark = pytest.mark.slow

PARTS = (
    *("bone_age_tf", "datasets", "exports", "setup.cfg", "pyproject.toml", "MANIFEST.in"),
    *("README.md", "LICENSE", "run.py"),
)


@pytest.fixture(scope="module")
def wheel(root, tmp_path_factory):
    """The wheel, built from a copy of the sources."""
    sources, out = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("wheel")
    for name in PARTS:
        if (root / name).is_dir():
            left_out = shutil.ignore_patterns("node_modules", "__pycache__", "*.egg-info")
            shutil.copytree(root / name, sources / name, ignore=left_out)
        else:
            shutil.copy(root / name, sources / name)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "-w", out, sources], check=True)
    (found,) = out.glob("*.whl")
    return found


def required(names):
    """Names of distributions and of all that they require, without extras."""
    found = set()
    while names:
        name = names.pop()
        if name not in found:
            found.add(name)
            requirements = map(Requirement, importlib.metadata.requires(name) or [])
            names += [
                each.name for each in requirements if not each.marker or each.marker.evaluate()
            ]
    return found


@pytest.fixture(scope="module")
def base(wheel, tmp_path_factory):
    """An environment with the wheel and its requirements, linked from this one."""
    folder = tmp_path_factory.mktemp("base")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "-q"]
    subprocess.run([*pip, "--no-deps", "--no-index", wheel], check=True, env=variables())
    (site,) = folder.glob("lib/python*/site-packages")
    (metadata,) = site.glob("bone_age_tf-*.dist-info")
    of_wheel = importlib.metadata.Distribution.at(metadata).requires or []
    wanted = [each.name for each in map(Requirement, of_wheel) if not each.marker]
    here = Path(sysconfig.get_path("purelib"))
    for name in required(wanted):
        for file in importlib.metadata.files(name) or []:
            top = file.parts[0]
            if top not in ("..", "__pycache__") and not (site / top).exists():
                (site / top).symlink_to(here / top)
    return folder


def variables():
    """The environment variables, without what would lead to the clone."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}


def run(base, place, *words):
    """Runs the installed command outside the clone."""
    return subprocess.run(
        [base / "bin" / "bone-age", *map(str, words)],
        cwd=place,
        env=variables(),
        capture_output=True,
        text=True,
        check=False,
    )


def run_python(base, place, code):
    """Runs code in the environment, outside the clone."""
    return subprocess.run(
        [base / "bin" / "python", "-c", code],
        cwd=place,
        env=variables(),
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_base_environment_has_no_tensorflow(base, tmp_path):
    code = (
        "import importlib.util as u; "
        "print([u.find_spec(m) for m in ('tensorflow', 'keras', 'tf_explain', 'ml_collections')])"
    )
    done = run_python(base, tmp_path, code)
    assert done.stdout.strip() == "[None, None, None, None]"


def test_it_reads_every_image_that_the_clone_reads(base, root, tmp_path):
    (drawn,) = draw_radiographs((100.0,), 320, seed=3)
    folder = tmp_path / "images"
    folder.mkdir()
    hand = np.asarray(Image.open(io.BytesIO(drawn)), float)
    hand = np.clip(hand + np.random.default_rng(0).normal(0, 6, hand.shape), 0, 255)
    for name, data in faulty_films(hand.astype(np.uint8)).items():
        ending = "jpg" if data[:2] == b"\xff\xd8" else "png"
        (folder / f"{re.sub('[^a-z0-9]+', '_', name.lower())}.{ending}").write_bytes(data)
    done = run(base, tmp_path, "predict", folder, "--sex=female")
    assert done.returncode in (0, 1), done.stderr
    assert f"Read by {SHIPPED_MODEL} version" in done.stdout
    assert "not checked" not in done.stdout
    with (tmp_path / "predictions.csv").open() as file:
        found = [tuple(row.values()) for row in csv.DictReader(file)]
    expected = load(exports_dir=root / "exports").read_table(folder, "female").rows()
    assert found == expected
    assert sum(row[5] == "ok" for row in found) > 5


def test_it_can_be_used_from_python(base, tmp_path):
    code = (
        "import bone_age_tf as ba; reader = ba.load(); "
        "print(reader.model, reader.quality_checker is not None, ba.list_exports())"
    )
    done = run_python(base, tmp_path, code)
    assert done.stdout.startswith(f"{SHIPPED_MODEL} version"), done.stderr
    assert f" True {{'{SHIPPED_MODEL}': [" in done.stdout


def test_help_and_version_need_no_extra(base, tmp_path):
    overview = run(base, tmp_path, "--help").stdout
    assert "Usage: bone-age [--mode=]MODE" in overview
    assert "python run.py" not in overview
    assert run(base, tmp_path, "--version").stdout.startswith("bone-age-tf ")
    done = run(base, tmp_path, "train", "--help")
    assert "--manual_dir" in done.stdout and "pip install 'bone-age-tf[train]'" in done.stdout


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (("train", "--model=cnn"), "train"),
        (("--mode=audit",), "train"),
        (("predict", "images", "--server=http://localhost:1/m"), None),
        (("predict", "images", "--server=grpc://localhost:1/m"), "serve"),
    ],
)
def test_a_missing_extra_is_one_line_that_names_it(base, tmp_path, words, extra):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(draw_radiographs((90.0,), 64)[0])
    done = run(base, tmp_path, *words)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()[-1:]
    assert line.startswith("error: ")
    assert (f"pip install 'bone-age-tf[{extra}]'" in line) == (extra is not None)


def test_it_builds_and_serves_the_page(base, root, tmp_path):
    modules = root / "exports" / "web" / "node_modules"
    if not modules.is_dir():
        pytest.skip("npm has not installed LiteRT.js")
    cache = tmp_path / "cache" / "bone-age-tf" / "page"
    cache.mkdir(parents=True)
    (cache / "node_modules").symlink_to(modules)
    process = subprocess.Popen(
        [base / "bin" / "bone-age", "web", "--port=0", "--output=page"],
        cwd=tmp_path,
        env=variables() | {"XDG_CACHE_HOME": str(tmp_path / "cache")},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        address = next(line.split()[0] for line in lines if line.startswith("http://"))
        with urllib.request.urlopen(address, timeout=30) as response:
            assert b"<html" in response.read()
    finally:
        process.kill()
        process.wait()
