"""What is listed of an archive, and that its bytes are found again."""

import io
import tarfile
import zipfile
from typing import ClassVar

import apache_beam.io.filesystem as beam_files
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_archive import encoded, hand, write_archive

from bone_age_tf import schema
from bone_age_tf.errors import InputError, RadiographError
from bone_age_tf.scale import storage
from bone_age_tf.scale.items import list_items, read_item


def test_every_form_of_an_archive_lists_the_same_files(tmp_path):
    manifest = write_archive(tmp_path / "films", 5)
    files = sorted((tmp_path / "films").glob("*.png"))
    with zipfile.ZipFile(tmp_path / "films.zip", "w") as archive:
        for path in files:
            archive.write(path, path.name)
    with tarfile.open(tmp_path / "films.tar", "w") as archive:
        for path in files:
            archive.add(path, path.name)
    rows = {"image": [path.name for path in files], "sex": ["f", "m", None, "f", "m"]}
    pq.write_table(pa.table(rows), tmp_path / "films" / "manifest.parquet")
    for source in (
        manifest,
        tmp_path / "films",
        tmp_path / "films.zip",
        tmp_path / "films.tar",
        tmp_path / "films" / "manifest.parquet",
        tmp_path / "films" / "*.png",
        f"{files[0]},{files[1]},{tmp_path / 'films' / '00[2-4].png'}",
    ):
        items = list_items(str(source), "male")
        assert [item.place for item in items] == list(range(5)), source
        assert [read_item(item) for item in items] == [path.read_bytes() for path in files], source
    given = list_items(str(tmp_path / "films" / "manifest.parquet"))
    assert [item.sex for item in given] == [0, 1, None, 0, 1]
    assert given[0].sex_source == schema.FROM_TABLE
    assert list_items(str(manifest))[3].chronological_age_months == 63


def test_what_cannot_be_listed_says_why(tmp_path):
    with tarfile.open(tmp_path / "films.tar.gz", "w:gz"):
        pass
    (tmp_path / "broken.tar").write_bytes(b"x" * 2000)
    (tmp_path / "broken.parquet").write_bytes(b"x")
    for source, words in (
        ("films.tar.gz", "compressed TAR"),
        ("broken.tar", "not a readable TAR"),
        ("broken.parquet", "not a readable Parquet"),
        ("*.jpg", "no file matches"),
        ("nothing.csv", "no such file"),
    ):
        with pytest.raises(InputError, match=words):
            list_items(str(tmp_path / source))


def test_a_file_that_is_gone_is_a_reason(tmp_path):
    items = list_items(str(write_archive(tmp_path, 2)))
    (tmp_path / "001.png").unlink()
    with pytest.raises(RadiographError, match="no such file"):
        read_item(items[1])


class HeldFiles(beam_files.FileSystem):
    """A file system of Beam in memory, with the URLs held://NAME."""

    files: ClassVar[dict] = {}

    @classmethod
    def scheme(cls):
        return "held"

    def join(self, base, *names):
        return "/".join([base.rstrip("/"), *names])

    def split(self, path):
        return tuple(path.rsplit("/", 1))

    def mkdirs(self, path):
        raise NotImplementedError

    def has_dirs(self):
        return False

    def _list(self, folder):
        for path, data in self.files.items():
            if path.startswith(folder):
                yield beam_files.FileMetadata(path, len(data))

    def open(self, path, mime_type="", compression_type="auto"):
        if path not in self.files:
            raise FileNotFoundError(path)
        return io.BytesIO(self.files[path])

    def create(self, path, mime_type="", compression_type="auto"):
        held = self.files

        class Written(io.BytesIO):
            def close(self):
                held.setdefault(path, self.getvalue())
                super().close()

        return Written()

    def copy(self, sources, destinations):
        raise NotImplementedError

    def rename(self, sources, destinations):
        for source, destination in zip(sources, destinations, strict=True):
            self.files[destination] = self.files.pop(source)

    def exists(self, path):
        return path in self.files

    def size(self, path):
        return len(self.files[path])

    def last_updated(self, path):
        return 0

    def checksum(self, path):
        return ""

    def metadata(self, path):
        return beam_files.FileMetadata(path, self.size(path))

    def delete(self, paths):
        for path in paths:
            del self.files[path]


def test_urls_are_opened_by_beam(tmp_path):
    data = [encoded(hand(number)) for number in range(2)]
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as members:
        members.writestr("one.png", data[0])
    HeldFiles.files = {
        "held://a/films/0.png": data[0],
        "held://a/films/1.png": data[1],
        "held://a/manifest.csv": b"image,sex\nfilms/1.png,f\nheld://a/films/0.png,m\n",
        "held://a/films.zip": archive.getvalue(),
    }
    items = list_items("held://a/manifest.csv")
    assert [read_item(item) for item in items] == data[::-1]
    assert [read_item(item) for item in list_items("held://a/films/*.png", "f")] == data
    assert [read_item(item) for item in list_items("held://a/films.zip", "f")] == data[:1]
    storage.write_file("held://a/out/plan.json", b"1")
    storage.write_file("held://a/out/plan.json", b"2")
    assert storage.read_file("held://a/out/plan.json") == b"2"
    assert list(storage.names_in("held://a/out")) == ["plan.json"]
