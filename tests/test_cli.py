import os
import subprocess
import sys

import pytest
from absl import flags

import bone_age_tf
from bone_age_tf import cli
from bone_age_tf.commands.catalog import MODES, load_mode


def test_help_teaches_without_tensorflow(root):
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from bone_age_tf.cli import main; main(['--help']); "
            "assert 'tensorflow' not in sys.modules",
        ],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in ("--mode", "--model=resnet50", "predict hand.png", *MODES):
        assert name in done.stdout


@pytest.mark.parametrize("mode", MODES)
def test_each_mode_explains_its_own_flags(mode, capsys):
    assert cli.main([mode, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"{mode}: {MODES[mode]}." in text
    takes_config = "--config.learning_rate" in text
    assert takes_config == (mode in ("train", "transfer_check", "audit", "pack", "recipe"))
    assert ("--server" in text) == (mode == "predict")
    values = flags.FlagValues()
    load_mode(mode).define_flags(values)
    for flag in values:
        assert values[flag].help, flag


def test_a_first_word_that_is_a_mode_and_its_input(capsys):
    assert cli.main(["predict", "there_is_none.png"]) == 2
    assert "there_is_none.png: no such file" in capsys.readouterr().err
    assert cli.main(["--mode", "predict", "there_is_none.png"]) == 2
    assert "there_is_none.png: no such file" in capsys.readouterr().err
    assert cli.main(["predict", "a.png", "b.png"]) == 2
    assert "'b.png' is not a flag" in capsys.readouterr().err


def test_the_version_is_printed(root):
    done = subprocess.run(
        [sys.executable, "-m", "bone_age_tf", "--version"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"bone-age-tf {bone_age_tf.__version__}\n"


def test_without_a_flag_the_help_is_printed_and_nothing_is_trained(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main([]) == 0
    assert "--model=resnet50" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def run_in_ascii(root, *arguments, pipe=subprocess.PIPE):
    """Runs the command in a terminal that shows nothing but ASCII."""
    return subprocess.run(
        [sys.executable, root / "run.py", *arguments],
        stdout=pipe,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )


def test_names_that_a_terminal_cannot_show_are_no_traceback(root):
    done = run_in_ascii(root, "--mode=predict", "--input=h\u00e9.png")
    assert done.returncode == 2
    assert done.stderr.startswith("error: h\\xe9.png: no such file or folder")


def test_a_reader_that_has_seen_enough_is_no_traceback(root):
    reader, writer = os.pipe()
    os.close(reader)
    done = run_in_ascii(root, "--help", pipe=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--mode=trian"],
            "Did you mean train? Known: audit, calibrate, evaluate, explain, export, node",
        ),
        (["--model=resnet51"], "Did you mean resnet50?"),
        (["--dataset=hand_fantom"], "Did you mean hand_phantom?"),
        (["--precision=float16"], "Known: auto, float32, mixed_bfloat16, mixed_float16"),
        (["--modle=resnet50"], "unknown flag --modle. Did you mean --mode or --model?"),
        (["--seed=x"], "seed"),
        (["--config.epochs"], "write --config.epochs=VALUE"),
        (["--config.epochs=x"], "a value of type int"),
        (["--config.epoch=1"], "Did you mean --config.epochs?"),
        (["--config.batch_size=0"], "--config.batch_size=0: a number 1 or more is needed"),
        (["hand.png"], " predict hand.png"),
        (["--mode=predict"], "needs --input"),
        (["--mode=predict", "--input=a.png", "--sex=x"], "write female or male"),
        (["--mode=predict", "--input=a.png", "--config.epochs=1"], "no effect"),
        (["--mode=evaluate", "--config.epochs=1"], "runs and exports keep their settings"),
        (["--mode=evaluate", "--workdir=nowhere"], "nowhere/config.json: no such file"),
        (["--dataset=rsna_bone_age"], "--manual_dir=FOLDER"),
        (["--dataset=rsna_bone_age", "--manual_dir=nowhere"], "nowhere: no such folder"),
        (["--dataset=hand_phantom/huge"], "Known: "),
        (["--mode=recipe"], "--mode=recipe needs --recipe=NAME:\n  boxed "),
        (["--mode=recipe", "--recipe=boxd"], "Did you mean boxed?"),
        (["--mode=recipe", "--recipe=boxed", "--seed=1"], "--seed has no effect on --mode=recipe"),
        (["--mode=recipe", "--recipe=boxed", "--pack=a.npz"], "a.npz: no such file, nor its first"),
        (["--mode=train", "--recipe=boxed"], "--recipe has no effect on --mode=train"),
        (["--mode=pack", "--pack_quality=96"], "--pack_quality"),
    ],
)
def test_wrong_use_names_the_value_and_the_remedy(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert said in error
    assert "Traceback" not in error
    assert not list(tmp_path.glob("runs/*/config.json"))


def test_missing_challenge_files_are_named_with_instructions(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("nothing here")
    assert cli.main(["--dataset=rsna_bone_age", "--manual_dir=mine"]) == 2
    assert "boneage-training-dataset.csv" in capsys.readouterr().err


def test_bad_rows_stop_a_run_by_file_and_line(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "mine.csv").write_text("image,sex,age_months\nhand.png,female,900\n")
    assert cli.main(["--dataset=radiograph_folder", "--manual_dir=mine"]) == 2
    assert "mine.csv:2: " in capsys.readouterr().err
