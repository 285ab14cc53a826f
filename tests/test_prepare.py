import os
import shutil
import zipfile

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from bone_age_tf import prepare
from bone_age_tf.data import pipeline
from bone_age_tf.errors import ConfigError
from bone_age_tf.prepare import prepare_dataset


def write_case(folder, age):
    folder.mkdir(exist_ok=True)
    Image.fromarray(np.full((30, 20), 90, np.uint8)).save(folder / "hand.png")
    (folder / "cases.csv").write_text(f"image,sex,age_months\nhand.png,female,{age}\n")


def ages(builder):
    return pipeline.read_table(builder, pipeline.Part("train")).age_months.tolist()


def test_a_changed_table_is_prepared_anew_and_an_unchanged_one_is_not(tmp_path, capsys):
    mine, data = tmp_path / "mine", tmp_path / "data"
    write_case(mine, 100)
    assert ages(prepare_dataset("radiograph_folder", data, mine)) == [100]
    assert "preparing" in capsys.readouterr().out
    assert ages(prepare_dataset("radiograph_folder", data, mine)) == [100]
    assert "preparing" not in capsys.readouterr().out
    assert ages(prepare_dataset("radiograph_folder", data, None)) == [100]
    write_case(mine, 101)
    assert ages(prepare_dataset("radiograph_folder", data, mine)) == [101]
    with pytest.raises(ConfigError, match="choose with --manual_dir"):
        prepare_dataset("radiograph_folder", data, None)


def test_a_copy_with_other_dates_is_the_same_data_and_a_changed_image_is_not(tmp_path, capsys):
    mine, copied, data = tmp_path / "mine", tmp_path / "copied", tmp_path / "data"
    write_case(mine, 100)
    noise = np.random.default_rng(0).integers(0, 256, (400, 500), np.uint8)
    Image.fromarray(noise).save(mine / "hand.png")  # larger than what is read of it
    folder = prepare_dataset("radiograph_folder", data, mine).data_dir
    shutil.copytree(mine, copied, copy_function=shutil.copyfile)
    os.utime(copied / "hand.png", ns=(1, 1))
    assert prepare_dataset("radiograph_folder", data, copied).data_dir == folder
    size = (copied / "hand.png").stat().st_size
    noise[200, 250:260] = noise[200, 250:260][::-1]  # in the middle of the file
    Image.fromarray(noise).save(copied / "hand.png")
    assert abs((copied / "hand.png").stat().st_size - size) < 100
    assert prepare_dataset("radiograph_folder", data, copied).data_dir != folder


def test_an_archive_is_known_by_its_members(tmp_path):
    def fingerprint(name, text, date):
        (tmp_path / name).mkdir()
        with zipfile.ZipFile(tmp_path / name / "images.zip", "w") as archive:
            archive.writestr(zipfile.ZipInfo("1.png", (date, 1, 1, 0, 0, 0)), text)
        return prepare.fingerprint(tmp_path / name)

    assert fingerprint("a", "one", 2000) == fingerprint("b", "one", 2020)
    assert fingerprint("c", "two", 2000) != fingerprint("d", "one", 2000)


def test_bars_that_are_for_terminals_come_back(tmp_path, capsys):
    write_case(tmp_path / "mine", 100)
    prepare_dataset("radiograph_folder", tmp_path / "data", tmp_path / "mine")
    assert "Generating" not in capsys.readouterr().err
    list(tfds.core.utils.tqdm(range(2), desc="afterwards"))
    assert "afterwards" in capsys.readouterr().err


def test_configs_are_named_after_a_slash(tmp_path):
    mine = tmp_path / "mine"
    write_case(mine, 100)
    builder = prepare_dataset("radiograph_folder/full", tmp_path / "data", mine)
    assert builder.builder_config.name == "full"
    with pytest.raises(ConfigError, match="Did you mean px512"):
        prepare_dataset("radiograph_folder/px51", tmp_path / "data", mine)


def test_files_that_are_not_there_are_asked_for(tmp_path):
    with pytest.raises(ConfigError, match="--manual_dir=FOLDER"):
        prepare_dataset("radiograph_folder", tmp_path, None)
    with pytest.raises(ConfigError, match="no such folder"):
        prepare_dataset("radiograph_folder", tmp_path, tmp_path / "nowhere")
