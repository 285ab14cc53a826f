"""The site builds without warnings, the notebooks run, and the documents agree with the package."""

import re
import subprocess
import sys

import pytest

import bone_age_tf

NOTEBOOKS = ("read_and_explain", "fine_tune_on_your_own_table", "compare_models")


@pytest.fixture(scope="module")
def site(root, tmp_path_factory):
    """The site, built strictly: a broken link or anchor is an error."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_builds_and_has_every_public_name(site):
    page = (site / "reference" / "api" / "index.html").read_text()
    names = [name for name in bone_age_tf.__all__ if name != "__version__"]
    assert not [name for name in names if f'id="bone_age_tf.{name}"' not in page]


def test_the_site_has_every_mode_and_flag(site):
    from absl import flags

    from bone_age_tf.commands.catalog import MODES, load_mode

    page = (site / "reference" / "commands" / "index.html").read_text()
    for mode in MODES:
        values = flags.FlagValues()
        load_mode(mode).define_flags(values)
        section = page.partition(f'id="{mode}"')[2].partition("<h2")[0]
        own = [flag for flag in values if flag not in ("flagfile", "undefok")]
        assert own
        assert not [flag for flag in own if f"--{flag}</code>" not in section], mode


def test_the_site_loads_nothing_from_elsewhere(site):
    for page in site.rglob("*.html"):
        loaded = re.findall(r'<(?:script|link|img)\b[^>]*?(?:src|href)="([^"]+)"', page.read_text())
        assert not [url for url in loaded if url.startswith(("http:", "https:", "//"))], page


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs(root, beside_phantoms, eager, name):
    """Cell by cell in this process: a kernel of its own would load TensorFlow anew."""
    import matplotlib
    import nbformat

    matplotlib.use("Agg")
    notebook = nbformat.read(root / "notebooks" / f"{name}.ipynb", as_version=4)
    names = {"__name__": "__main__"}
    for place, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            exec(compile(cell.source, f"{name}.ipynb, cell {place}", "exec"), names)


def test_every_notebook_is_run_and_holds_no_output(root):
    import nbformat

    paths = sorted((root / "notebooks").glob("*.ipynb"))
    assert sorted(path.stem for path in paths) == sorted(NOTEBOOKS)
    for path in paths:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        assert not [cell for cell in code if cell.outputs or cell.execution_count], path


def test_the_citation_names_this_version(root):
    import yaml

    citation = yaml.safe_load((root / "CITATION.cff").read_text())
    assert str(citation["version"]) == bone_age_tf.__version__
    assert citation["license"] == "Apache-2.0"


def test_the_readme_is_short(root):
    assert len((root / "README.md").read_text().splitlines()) <= 120
