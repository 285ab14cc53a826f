"""The rules of the house, read from the imports."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "bone_age_tf"
FILES = sorted(PACKAGE.rglob("*.py"))


def imported(path):
    """Full names of what a file imports, at the top or inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room(path):
    return path.relative_to(PACKAGE).parts[0]


def offenders(files, forbidden):
    return [
        f"{path.name} imports {name}"
        for path in files
        for name in imported(path)
        if any(name == bad or name.startswith(bad + ".") for bad in forbidden)
    ]


def in_room(*names):
    return [path for path in FILES if room(path) in names]


def test_the_rules_see_the_package():
    assert len(FILES) > 20
    assert "keras" in imported(PACKAGE / "models" / "resnet.py")


def test_data_and_models_do_not_know_each_other():
    assert not offenders(in_room("data"), ["bone_age_tf.models"])
    assert not offenders(in_room("models"), ["bone_age_tf.data"])


def test_imports_follow_the_flow_of_data():
    """The rooms `quality` and `regions` hold all steps of their networks, so they are left out."""
    order = ["images", "data", "models", "training", "evaluation", "recipes", "clinical"]
    order += ["serving", "scale", "export", "explain", "web", "node", "commands"]
    for place, name in enumerate(order):
        later = [f"bone_age_tf.{other}" for other in order[place + 1 :]]
        assert not offenders(in_room(name), later)
    of_networks = ["bone_age_tf.quality", "bone_age_tf.regions"]
    assert not offenders(in_room("images"), of_networks)
    offending = offenders(in_room("models"), of_networks)
    assert {line.split(".")[0] for line in offending} == {"bonewise"}  # reads what it finds
    # To find the hand is a step of reading an image.
    finds_hands = {"graph.fit_image", "network.load_detector_network"}
    wanted = {f"pipeline.py imports bone_age_tf.regions.{name}" for name in finds_hands}
    assert set(offenders(in_room("data"), of_networks)) == wanted
    above = ["bone_age_tf.commands", "bone_age_tf.serving", "bone_age_tf.web"]
    above += ["bone_age_tf.clinical", "bone_age_tf.node"]
    assert not offenders(in_room("quality", "regions", "inference"), above)


def test_nothing_imports_the_front_door_or_the_builders():
    assert not offenders(FILES, ["run", "datasets", "bone_age_datasets"])
    naming = [path.name for path in FILES if "bone_age_datasets" in path.read_text()]
    assert naming == ["prepare.py"]


def test_models_are_pure_keras():
    networks = [PACKAGE / room_name / "network.py" for room_name in ("quality", "regions")]
    assert not offenders([*in_room("models"), *networks], ["tensorflow"])


GRAPH_FILES = ("graph_reading.py", "encoded_header.py", "traced.py")
"""Files of the room `images` that are written as TensorFlow graph operations."""
BASE = (
    *("__init__.py", "__main__.py", "bundle.py", "catalog.py", "cli.py", "errors.py", "files.py"),
    *("radiograph.py", "reader.py", "reasons.py", "result_table.py", "schema.py"),
)
"""Files, beside rooms, that reading radiographs needs."""


def test_the_base_install_needs_neither_tensorflow_nor_keras():
    """Nor what only training needs; rooms that the reader uses, file by file."""
    heavy = ["tensorflow", "tensorflow_datasets", "keras", "keras_cv", "ml_collections"]
    heavy += ["jinja2", "cv2"]
    files = [PACKAGE / name for name in BASE if name != "cli.py"] + in_room("inference", "web")
    files += in_room("clinical", "node")
    files += [PACKAGE / "quality" / "checker.py", PACKAGE / "regions" / "detector.py"]
    files += [path for path in in_room("images") if path.name not in GRAPH_FILES]
    files += [PACKAGE / "regions" / name for name in ("frame.py", "views.py")]
    cv2_alone = [path for path in files if path.name in ("decoding.py", "frame.py", "views.py")]
    assert not offenders([path for path in files if path not in cv2_alone], heavy)
    assert not offenders(cv2_alone, heavy[:-1])


def test_training_and_recipes_need_no_tensorflow():
    """They import it inside functions alone, where it is the backend."""
    through_tf_data = ("prediction.py", "out_of_fold.py")
    for path in in_room("training", "recipes"):
        if path.name not in through_tf_data:
            at_import = ast.parse(path.read_text())
            at_import.body = [
                node for node in at_import.body if isinstance(node, (ast.Import, ast.ImportFrom))
            ]
            assert "tensorflow" not in ast.unparse(at_import), path


def test_only_one_room_knows_tf_explain():
    others = [path for path in FILES if room(path) != "explain"]
    assert not offenders(others, ["tf_explain"])
    assert offenders(in_room("explain"), ["tf_explain"])


def test_schema_needs_the_standard_library_only():
    assert imported(PACKAGE / "schema.py") == {"typing.Final"}


def test_no_room_for_leftovers():
    vague = {"utils", "helpers", "common", "misc"}
    assert not [path for path in FILES if vague & {path.stem, room(path)}]


def test_files_and_functions_stay_small():
    root = PACKAGE.parent
    large = []
    for path in [*FILES, *sorted((root / "datasets").rglob("*.py"))]:
        text = path.read_text()
        if len(text.splitlines()) > 400:
            large.append(path.name)
        large += [
            f"{path.name}:{node.name}"
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.FunctionDef) and node.end_lineno - node.body[0].end_lineno > 60
        ]
    assert not large


@pytest.mark.parametrize(
    "statement",
    [
        "import bone_age_tf.cli, bone_age_tf.config, bone_age_tf.schema",
        "import bone_age_tf.cli, bone_age_tf.reader, bone_age_tf.radiograph",
        "import bone_age_tf.commands.web, bone_age_tf.web.build",
        "import bone_age_tf.commands.node, bone_age_tf.node.node",
        "from bone_age_tf.clinical import *",
    ],
)
def test_light_doors_open_without_tensorflow(statement):
    check = (
        "import sys; print([m for m in ('tensorflow', 'keras', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{statement}; {check}"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_every_module_that_is_imported_exists():
    """Imports inside functions fail late, and mypy lets missing modules pass."""
    root = PACKAGE.parent
    files = [
        path
        for folder in ("bone_age_tf", "datasets", "benchmarks", "tests", "docs")
        for path in (root / folder).rglob("*.py")
    ]
    missing = []
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bone_age_tf"):
                modules = [node.module]
            elif isinstance(node, ast.Import):
                modules = [a.name for a in node.names if a.name.startswith("bone_age_tf")]
            else:
                continue
            places = [root.joinpath(*name.split(".")) for name in modules]
            missing += [
                f"{path.relative_to(root)}: {place.relative_to(root)}"
                for place in places
                if not (place.is_dir() or place.with_suffix(".py").is_file())
            ]
    assert not missing
