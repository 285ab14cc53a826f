"""The script for a rented accelerator, with no other packages than those that it brings."""

import json
import os
import subprocess
import sys

import pytest

from bone_age_tf import config as configs
from bone_age_tf.data import pack, packing, pipeline
from bone_age_tf.models.build import load_network
from bone_age_tf.recipes import accelerator

ONLY_WHAT_IT_BRINGS = """
import importlib.abc, importlib.machinery, runpy, sys
names = {"pillow": "PIL", "pyyaml": "yaml", "absl-py": "absl", "markdown-it-py": "markdown_it"}
brought = {names.get(one, one.replace("-", "_")) for one in sys.argv.pop(1).split(",")}
of_jax = {"jax", "jaxlib", "scipy", "opt_einsum"}
allowed = brought | of_jax | sys.stdlib_module_names | {"bone_age_tf"}

class OnlyThese(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in allowed or top.startswith("_sysconfigdata"):
            return importlib.machinery.PathFinder.find_spec(name, path, target)

place = sys.meta_path.index(importlib.machinery.PathFinder)
sys.meta_path[place] = OnlyThese()
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.slow
def test_it_trains_to_its_end_without_tensorflow_and_its_result_is_joined(
    root, phantoms, tmp_path, capsys
):
    parts = pipeline.choose_parts(list(phantoms.info.splits), 0.1, True)
    (tmp_path / "rent" / "wheels").mkdir(parents=True)
    data = pack.make_pack(packing.examples(phantoms, parts), {})
    pack.write_pack(tmp_path / "rent" / "some.npz", data, 50_000)
    script = root / "bone_age_tf" / "recipes" / "accelerator.py"
    flags = ["--recipe=quick_phantoms", "--pack=rent/some.npz", "--output=result"]
    flags += ["--seconds=400", "--most_epochs=2"]
    command = [sys.executable, "-c", ONLY_WHAT_IT_BRINGS, ",".join(accelerator.PACKAGES)]
    done = subprocess.run(
        [*command, script, "train", "rent", *flags],
        cwd=tmp_path,
        # To compile takes longer than to run
        env=os.environ | {"XLA_FLAGS": "--xla_backend_optimization_level=0"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert "validation, n = 16: MAE" in done.stdout
    joined = ["join", str(tmp_path / "result"), f"--workdir={tmp_path / 'run'}"]
    assert accelerator.main(joined) == 0
    assert "the run's folder" in capsys.readouterr().out
    measured = json.loads((tmp_path / "run" / "measured.json").read_text())
    assert measured["n"] == 16
    assert configs.read_config(tmp_path / "run" / "config.json").model == "cnn"
    assert load_network(tmp_path / "run" / "checkpoints" / "best.keras").count_params() > 1000
