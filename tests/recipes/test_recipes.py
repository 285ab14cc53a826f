import json
import shutil

import pytest

from bone_age_tf import cli
from bone_age_tf.data import pack, packing, pipeline
from bone_age_tf.data.packed import PackedData
from bone_age_tf.errors import ConfigError
from bone_age_tf.recipes import catalog
from bone_age_tf.recipes.recipe import Recipe, Stage
from bone_age_tf.recipes.stages import StageRun, labels_digest
from bone_age_tf.training import fit as fitting


@pytest.mark.parametrize("name", catalog.RECIPES)
def test_every_recipe_resolves(name):
    recipe = catalog.load_recipe(name)
    assert recipe.name == name
    for stage in recipe.stages:
        config = recipe.config(stage, "random")
        assert config.model == recipe.model
        assert config.epochs == stage.settings["epochs"]


def test_stages_follow_earlier_ones_alone():
    with pytest.raises(ValueError, match=r"'b' is there twice, or follows \['c'\]"):
        Recipe("r", "cnn", "hand_phantom", (Stage("a"), Stage("b", after=("c",))))
    with pytest.raises(ConfigError, match=r"unknown recipe 'boxd'\. Did you mean boxed"):
        catalog.load_recipe("boxd")


def test_labels_are_known_whatever_their_order():
    first = labels_digest(["a", "b"], [0, 1], [10.0, 20.0])
    assert first == labels_digest(["b", "a"], [1, 0], [20.0, 10.0])
    assert first != labels_digest(["a", "b"], [0, 1], [10.0, 20.5])


@pytest.fixture(scope="module")
def data(phantoms):
    parts = {name: pipeline.Part(name) for name in ("train", "validation")}
    return PackedData(pack.make_pack(packing.examples(phantoms, parts)))


@pytest.fixture
def short():
    return catalog.load_recipe("quick_phantoms")


def run(recipe, data, folder, **changes):
    return StageRun(recipe, data, folder, {"dataset": recipe.dataset}, **changes).run()


@pytest.fixture
def count_fits(monkeypatch):
    """Names of the stages that were trained."""
    trained, original = [], fitting.fit

    def fit(config, data, workdir, *arguments, **options):
        trained.append(workdir.name)
        return original(config, data, workdir, *arguments, **options)

    monkeypatch.setattr(fitting, "fit", fit)
    return trained


@pytest.mark.slow
def test_a_recipe_goes_on_after_the_stages_that_are_done(
    short, data, tmp_path, count_fits, capsys, monkeypatch, eager
):
    last = run(short, data, tmp_path / "here")
    assert count_fits == ["first", "second", "mean"]
    assert last == tmp_path / "here" / "mean"
    report = (tmp_path / "here" / "report.md").read_text()
    assert "| second | first | 2 | 1 |" in report
    assert "| mean | first and second | 0 | 0 |" in report
    # On another machine, where the last stage had only begun
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    (tmp_path / "there" / "mean" / "stage.json").unlink()
    capsys.readouterr()
    monkeypatch.chdir(tmp_path)
    run(short, data, (tmp_path / "there").relative_to(tmp_path))
    assert count_fits[3:] == ["mean"]
    assert "stage 2 of 3, second: done, validation MAE" in capsys.readouterr().out
    records = [
        json.loads((tmp_path / place / "mean" / "stage.json").read_text())
        for place in ("here", "there")
    ]
    assert records[0]["key"] == records[1]["key"]
    assert records[0]["val_mae_months"] == pytest.approx(records[1]["val_mae_months"])
    # What only exports look at makes no stage another one
    run(short, data, tmp_path / "there", overrides=[("familiarity_images", "3")])
    assert count_fits[4:] == []
    # Other settings, or weights that were exchanged, are not taken for the same stage
    with pytest.raises(ConfigError, match="first holds this stage from other data, settings"):
        run(short, data, tmp_path / "there", overrides=[("learning_rate", "0.1")])
    (tmp_path / "there" / "first" / "checkpoints" / "best.keras").write_bytes(b"other")
    with pytest.raises(ConfigError, match="is not what the stage ended with"):
        run(short, data, tmp_path / "there")


def test_first_weights_that_are_missing_are_named(data, tmp_path):
    recipe = Recipe("r", "cnn", "hand_phantom", (Stage("a", init="nowhere.keras"),))
    with pytest.raises(ConfigError, match=r"stage a begins from nowhere\.keras, which is not"):
        run(recipe, data, tmp_path)


def test_an_exports_folder_that_cannot_be_written_is_named_before_the_training(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    arguments = ["--mode=recipe", "--recipe=quick_phantoms", "--exports_dir=file"]
    assert cli.main(arguments) == 2
    assert "file: no folder can be made there" in capsys.readouterr().err
    assert not list(tmp_path.glob("data/*"))
