import os
import subprocess
import sys

import pytest

from bone_age_tf import cli


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
    for name in ("--mode", "--manual_dir", "--config.learning_rate", "resnet50", "predict"):
        assert name in done.stdout


def test_without_a_flag_the_help_is_printed_and_nothing_is_trained(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main([]) == 0
    assert "python run.py --model=resnet50" in capsys.readouterr().out
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
            "Did you mean train? Known: audit, calibrate, evaluate, explain, export, pack",
        ),
        (["--model=resnet51"], "Did you mean resnet50?"),
        (["--dataset=hand_fantom"], "Did you mean hand_phantom?"),
        (["--precision=float16"], "Known: auto, float32, mixed_bfloat16, mixed_float16"),
        (["--modle=resnet50"], "Unknown command line flag 'modle'. Did you mean: mode"),
        (["--seed=x"], "seed"),
        (["--config.epochs"], "write --config.epochs=VALUE"),
        (["--config.epochs=x"], "a value of type int"),
        (["--config.epoch=1"], "Did you mean --config.epochs?"),
        (["--config.batch_size=0"], "--config.batch_size=0: a number 1 or more is needed"),
        (["hand.png"], "--input=hand.png"),
        (["--mode=predict"], "needs --input"),
        (["--mode=predict", "--input=a.png", "--sex=x"], "write female or male"),
        (["--mode=predict", "--input=a.png", "--config.epochs=1"], "no effect"),
        (["--mode=evaluate", "--config.epochs=1"], "takes the run's own"),
        (["--mode=evaluate", "--workdir=nowhere"], "nowhere/config.json: no such file"),
        (["--dataset=rsna_bone_age"], "--manual_dir=FOLDER"),
        (["--dataset=rsna_bone_age", "--manual_dir=nowhere"], "nowhere: no such folder"),
        (["--dataset=hand_phantom/huge"], "Known: "),
        (["--mode=recipe"], "--mode=recipe needs --recipe=NAME:\n  boxed "),
        (["--mode=recipe", "--recipe=boxd"], "Did you mean boxed?"),
        (["--mode=recipe", "--recipe=boxed", "--seed=1"], "--seed has no effect with --recipe"),
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
