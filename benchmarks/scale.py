"""How fast and how safely are archives read on several workers?

python benchmarks/scale.py speed [--films=2000] [--side_px=512] [--engines="one process"]
python benchmarks/scale.py kills [--films=600] [--kills=20] [--engines="Spark 2 workers"]
python benchmarks/scale.py broken
python benchmarks/scale.py growth [--films=500,2000,8000] [-- --model=resnet50]

Draws phantoms, all different, as files. Options after -- are those of `--mode=score`, for instance
a model that is faster than the shipped one where the engine is to be measured. `speed` prints the
time of one process without an engine, and of Beam and Spark with one and with two workers of one
thread, start-up subtracted, as ratios of one run. `kills` kills workers and the driver at random
moments, repeats the command until it ends, and compares the files with those of an undisturbed run.
`broken` breaks one file in 20 in ten ways and prints the table of refusals. `growth` prints the
largest memory of a worker and the exponent of the time by the number of files.
"""

import argparse
import collections
import contextlib
import dataclasses
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from drawn_archive import SEED, draw_archive

ENGINES = {
    "one process": ["--runner=none"],
    "Beam 1 worker": ["--runner=direct", "--workers=1"],
    "Beam 2 workers": ["--runner=direct", "--workers=2"],
    "Spark 1 worker": ["--runner=spark", "--workers=1"],
    "Spark 2 workers": ["--runner=spark", "--workers=2"],
}
FEW = 8
"""Files of the run whose time is that of the start."""


@dataclasses.dataclass(frozen=True)
class Bench:
    """Where and with what is measured.

    Attributes:
        folder: folder for all files.
        side_px: side of the phantoms.
        flags: flags of `--mode=score` in addition.
    """

    folder: Path
    side_px: int
    flags: tuple[str, ...]

    def draw(self, films: int) -> Path:
        """Draws the archive; returns its manifest."""
        return draw_archive(self.folder / "films", films, self.side_px)

    def command(
        self, manifest: Path, output: Path, engine: list[str], part_rows: int = 64
    ) -> list[str]:
        """Returns the command that reads an archive."""
        flags = [f"--input={manifest}", f"--output={output}", f"--part_rows={part_rows}", *engine]
        return [sys.executable, "-m", "bone_age_tf", "--mode=score", *flags, *self.flags]

    def timed(self, manifest: Path, name: str, engine: list[str]) -> float:
        """Returns the seconds of a whole run, which writes the folder with that name."""
        start = time.monotonic()
        result = subprocess.run(
            self.command(manifest, self.folder / name, engine),
            capture_output=True,
            text=True,
            check=False,
        )
        if not (self.folder / name / "summary.json").exists():
            raise RuntimeError(result.stderr)
        return time.monotonic() - start


def first_rows(manifest: Path, count: int) -> Path:
    """Writes a manifest of the first files beside another one."""
    lines = manifest.read_text().splitlines()[: count + 1]
    path = manifest.with_name(f"manifest_{count}.csv")
    path.write_text("\n".join(lines) + "\n")
    return path


def speed(bench: Bench, films: int, engines: list[str]) -> None:
    """Prints the speed of each engine."""
    manifest = bench.draw(films)
    few = first_rows(manifest, FEW)
    seconds = {}
    print("| engine | start s | ms a film | ratio to its own single worker | to the bare loop |")
    print("|---|---|---|---|---|")
    for name in engines:
        start = bench.timed(few, f"few {name}", ENGINES[name])
        whole = bench.timed(manifest, name, ENGINES[name])
        seconds[name] = (whole - start) / (films - FEW)
        single = seconds.get(name.replace("2 workers", "1 worker"), float("nan"))
        bare = seconds.get("one process", float("nan"))
        print(
            f"| {name} | {start:.1f} | {1000 * seconds[name]:.1f} | {single / seconds[name]:.2f} "
            f"| {bare / seconds[name]:.2f} |",
            flush=True,
        )


def kills(bench: Bench, films: int, count: int, engines: list[str]) -> None:
    """Kills workers and drivers at random moments and compares the results."""
    manifest = bench.draw(films)
    bench.timed(manifest, "whole", ENGINES["one process"])
    whole = read_back(bench.folder / "whole")
    chance = random.Random(SEED)
    for name in engines:
        output = bench.folder / f"killed {name}"
        killed: collections.Counter[str] = collections.Counter()
        runs = 0
        while not (output / "summary.json").exists():
            runs += 1
            with subprocess.Popen(
                bench.command(manifest, output, ENGINES[name], 16),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            ) as process:
                while process.poll() is None and sum(killed.values()) < count:
                    time.sleep(chance.uniform(2, 14))
                    kind = "driver" if chance.random() < 0.3 else "workers"
                    victims = [process.pid] if kind == "driver" else below(process.pid)
                    while not victims and process.poll() is None:  # they are being started
                        time.sleep(0.2)
                        victims = below(process.pid)
                    with contextlib.suppress(ProcessLookupError, IndexError):
                        os.kill(chance.choice(victims), signal.SIGKILL)
                        killed[kind] += 1
                process.wait()
        same = read_back(output) == whole
        print(
            f"{name}: {films} films, {dict(killed)} killed, {runs} calls, each film once and equal "
            f"to an undisturbed run: {same}",
            flush=True,
        )


def read_back(output: Path) -> list[dict]:
    """Returns all rows, sorted by their place."""
    import pyarrow.parquet as pq

    paths = output.glob("part-*.parquet")
    rows = [row for path in paths for row in pq.read_table(path).to_pylist()]
    return sorted(rows, key=lambda row: row["row"])


def below(process: int) -> list[int]:
    """Returns the Python processes that descend from one and read radiographs."""
    parents, workers = {}, []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int(
                (folder / "stat").read_text().rpartition(")")[2].split()[1]
            )
            words = (folder / "cmdline").read_text()
        except OSError:
            continue
        if "sdk_worker_main" in words or ("pyspark" in words and "daemon" in words):
            workers.append(int(folder.name))

    def descends(number: int) -> bool:
        while number > 1 and number != process:
            number = parents.get(number, 0)
        return number == process

    return [number for number in workers if descends(number)]


def broken(bench: Bench) -> None:
    """Breaks one file in 20 and prints the refusals."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "scale"))
    from made_archive import broken_files

    manifest = bench.draw(200)
    for place, (name, data) in enumerate(broken_files().items()):
        target = manifest.parent / f"{20 * place + 7:06d}{Path(name).suffix}"
        (manifest.parent / f"{20 * place + 7:06d}.png").unlink()
        target.write_bytes(data)
        text = manifest.read_text().replace(f"{20 * place + 7:06d}.png", target.name)
        manifest.write_text(text)
    bench.timed(manifest, "out", ENGINES["Beam 2 workers"])
    print((bench.folder / "out" / "refusals.csv").read_text())


def growth(bench: Bench, counts: list[int]) -> None:
    """Prints time and memory by the number of films, for Beam with two workers."""
    manifest = bench.draw(max(counts))
    engine = ENGINES["Beam 2 workers"]
    start = bench.timed(first_rows(manifest, FEW), "few", engine)
    points = []
    for count in counts:
        begun, largest = time.monotonic(), 0
        with subprocess.Popen(
            bench.command(first_rows(manifest, count), bench.folder / str(count), engine),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            while process.poll() is None:
                largest = max([largest, *map(resident_kb, below(process.pid))])
                time.sleep(0.5)
        seconds = time.monotonic() - begun - start
        points.append((count, seconds))
        print(f"{count} films: {seconds:.0f} s less start, worker {largest / 1024:.0f} MB")
    films, seconds = np.log(np.array(points)).T
    print(f"exponent of the time: {np.polyfit(films, seconds, 1)[0]:.2f}")


def resident_kb(process: int) -> int:
    """Returns the resident memory of a process in kB, 0 if it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS")), 0)


def main() -> None:
    """Runs one of the measurements."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("speed", "kills", "broken", "growth"))
    parser.add_argument("--films", default=None, help="number of films; several for growth")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--side_px", type=int, default=512)
    parser.add_argument("--engines", default=",".join(ENGINES))
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    options = parser.parse_args(words[:end])
    folder = Path(tempfile.mkdtemp(prefix="scale-"))
    bench = Bench(folder, options.side_px, tuple(words[end + 1 :]))
    engines = options.engines.split(",")
    try:
        if options.what == "speed":
            speed(bench, int(options.films or 2000), engines)
        elif options.what == "kills":
            several = [name for name in engines if name.endswith("workers")]
            kills(bench, int(options.films or 600), options.kills, several)
        elif options.what == "broken":
            broken(bench)
        else:
            growth(bench, [int(n) for n in (options.films or "500,2000,8000").split(",")])
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
