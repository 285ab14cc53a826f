import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bone_age_tf import files
from bone_age_tf.errors import OutputError


def test_a_link_stays_and_its_target_is_written(tmp_path):
    target, link = tmp_path / "folder" / "target.csv", tmp_path / "link.csv"
    target.parent.mkdir()
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to(target)
    files.replace_file(link, b"new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    dangling = tmp_path / "dangling.csv"
    dangling.symlink_to(tmp_path / "folder" / "made.csv")
    files.replace_file(dangling, b"new")
    assert (tmp_path / "folder" / "made.csv").read_text() == "new"


def test_fifos_and_devices_are_written_to(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    received = []
    reader = threading.Thread(target=lambda: received.append(fifo.read_bytes()))
    reader.start()
    files.replace_file(fifo, b"content")
    reader.join()
    assert received == [b"content"]
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    device = tmp_path / "null"
    device.symlink_to("/dev/null")
    files.replace_file(device, b"content")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert device.is_symlink()


@pytest.mark.parametrize("name", ["-", "/dev/stdout"])
def test_standard_output_comes_after_what_was_printed(name):
    code = (
        "from pathlib import Path\nfrom bone_age_tf.files import replace_file\n"
        f"print('before', flush=False); replace_file(Path({name!r}), b'content\\n'); print('after')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "before\ncontent\nafter\n"


def test_an_output_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file: no folder can be made there"):
        files.require_writable_folder(tmp_path / "file")
    with pytest.raises(OutputError, match="this is a folder"):
        files.require_writable_file(tmp_path)
    with pytest.raises(OutputError, match="file: no folder can be made there"):
        files.require_writable_file(tmp_path / "file" / "table.csv")
    kept = tmp_path / "kept.csv"
    kept.write_text("kept")
    files.require_writable_file(kept)
    files.require_writable_file(tmp_path / "new" / "table.csv")
    assert kept.read_text() == "kept"
    assert os.listdir(tmp_path / "new") == []


def test_a_full_disk_is_named_before_the_file_is_written(tmp_path):
    files.require_room(tmp_path, 1)
    with pytest.raises(OutputError, match="no space left: 1000000000000 MB are needed"):
        files.require_room(tmp_path, 10**18)


def test_the_same_work_waits_for_the_process_that_does_it(tmp_path):
    code = (
        "import sys\nfrom pathlib import Path\nfrom bone_age_tf.files import only_one_process\n"
        "with only_one_process(Path(sys.argv[1]), 'the work'):\n"
        "    print('working', flush=True); sys.stdin.read()\n"
    )

    def start():
        return subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "home")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    first = start()
    assert first.stdout.readline() == "working\n"
    second = start()
    assert second.stdout.readline() == "waiting for another process: the work\n"
    first.kill()  # a lock ends with its process
    first.communicate()
    assert second.stdout.readline() == "working\n"
    second.communicate("")
    assert second.returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_full_disk_is_named():
    with pytest.raises(OSError, match=r"No space left on device: '/dev/full'"):
        files.replace_file(Path("/dev/full"), b"content")
