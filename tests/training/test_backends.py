"""The same training from a pack under TensorFlow and, in a process without it, under JAX."""

import os
import subprocess
import sys

import numpy as np
import pytest

from bone_age_tf import config as configs
from bone_age_tf.data import pack, packing, pipeline
from bone_age_tf.data.packed import PackedData
from bone_age_tf.models.build import build_model, load_network
from bone_age_tf.training import fit as fitting

TRAIN = """
import sys
from pathlib import Path
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tensorflow", "tensorflow_datasets"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Hidden())
sys.path.insert(0, "tests")
from bone_age_tf import config as configs
from bone_age_tf.data.pack import read_pack
from bone_age_tf.data.packed import PackedData
from bone_age_tf.models.catalog import MODELS
from bone_age_tf.training import fit as fitting
folder = Path(sys.argv[1])
config = configs.read_config(folder / "config.json")
MODELS["tiny"] = "tiny_network"
data = PackedData(read_pack(folder / "some.npz"))
fitting.fit(config, data, folder / "jax", 0)
"""


def run_jax(root, folder):
    environment = os.environ | {
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_backend_optimization_level=0",  # compiling takes longer than running
    }
    done = subprocess.run(
        [sys.executable, "-c", TRAIN, str(folder)],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_two_steps_under_jax_are_those_under_tensorflow(tiny_config, phantoms, tmp_path, root):
    parts = {name: pipeline.Part(name) for name in ("train", "validation")}
    made = pack.make_pack(packing.examples(phantoms, parts))
    pack.write_pack(tmp_path / "some.npz", made)
    build_model(tiny_config).save(tmp_path / "first.keras")
    # What is random differs between the backends.
    tiny_config.augmentation.policy, tiny_config.dropout = "none", 0.0
    tiny_config.update(epochs=1, batch_size=24, balance=0.5, init=str(tmp_path / "first.keras"))
    tiny_config.update(stage_scales=(0.5, 1.0), stage_ends=(0.5, 1.0))
    configs.save_config(tiny_config, tmp_path / "config.json")
    fitting.fit(tiny_config, PackedData(made), tmp_path / "tensorflow", 0)
    said = run_jax(root, tmp_path)
    assert "epoch 1 of 1 done" in said
    ours, theirs = (
        load_network(tmp_path / backend / "checkpoints" / "last.keras")
        for backend in ("tensorflow", "jax")
    )
    first = load_network(tmp_path / "first.keras")
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
    pairs = zip(ours.get_weights(), first.get_weights(), strict=True)
    assert np.median([np.abs(a - b).max() for a, b in pairs]) > 5e-4
