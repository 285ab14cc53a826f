"""What native libraries write is held back, and shown where the block fails."""

import os
import subprocess
import sys
import threading

import pytest

from bone_age_tf.native_output import native_stderr_held_back


def test_what_is_written_natively_is_held_back(capfd):
    with native_stderr_held_back():
        os.write(2, b"I0000 a native line\n")
        print("a line for people")
    print("an error", file=sys.stderr)
    captured = capfd.readouterr()
    assert captured.out == "a line for people\n"
    assert captured.err == "an error\n"


def test_a_block_that_fails_shows_it(capfd):
    with pytest.raises(ValueError, match="failed"), native_stderr_held_back():
        with native_stderr_held_back():
            os.write(2, b"held back for good\n")
        os.write(2, b"E0000 the native reason\n")
        raise ValueError("failed")
    assert capfd.readouterr().err == "E0000 the native reason\n"


def test_blocks_of_several_threads_leave_standard_error_as_it_was(capfd):
    def hold_back():
        for _ in range(50):
            with native_stderr_held_back():
                os.write(2, b"native\n")

    threads = [threading.Thread(target=hold_back) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.write(2, b"afterwards\n")
    assert capfd.readouterr().err == "afterwards\n"


def test_a_closed_standard_error_is_no_error():
    code = (
        "import os; os.close(2)\n"
        "from bone_age_tf.native_output import native_stderr_held_back\n"
        "with native_stderr_held_back(): print('done')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert done.stdout == "done\n"
