"""The page's folder and its server; no browser."""

import gzip
import http.client
import json
import re
import socket
import subprocess

import pytest

from bone_age_tf import cli
from bone_age_tf.bundle import Bundle
from bone_age_tf.catalog import SHIPPED_MODEL
from bone_age_tf.errors import PageError
from bone_age_tf.web import build, compression, dicom_codecs, litert_js
from bone_age_tf.web.build import SOURCES, build_page
from bone_age_tf.web.server import HEADERS, POLICY, make_server


@pytest.fixture
def exported(root):
    return Bundle.find(SHIPPED_MODEL, root / "exports")


def get(url, path, **headers):
    host = url.removeprefix("http://").rstrip("/")
    connection = http.client.HTTPConnection(host)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, {name.title(): value for name, value in answer.getheaders()}, body


def test_the_folder_holds_all_and_nothing_else(page_folder, exported):
    listed = json.loads((page_folder / "files.js").read_text().removeprefix("self.PAGE = ")[:-2])
    names = {path.relative_to(page_folder).as_posix() for path in page_folder.rglob("*.*")}
    kept = {*listed["first"], *listed["later"]}
    assert names - kept == {"index.html", "sw.js", "files.js", "LICENSE.txt"}
    assert kept - names == {"./"}
    assert {path.split("/")[0] for path in listed["later"]} == {"litert", "models"}
    assert len(listed["later"]) == 6 + 6  # LiteRT; the model, the check and the region detector
    settings = json.loads((page_folder / "settings.json").read_text())
    assert settings["version"] == listed["version"]
    assert settings["model"] == {
        "folder": f"models/{SHIPPED_MODEL}",
        "file": "model_float16.tflite",
        "version": exported.version,
    }
    text = (page_folder / "litert" / "index.js").read_text()
    assert 'from "./wasm-utils.js"' in text
    assert not re.search(r'(from|import\()\s*["\']@', text)
    assert "sourceMappingURL" not in text


def test_licences_of_all_decoders_come_with_the_page(page_folder):
    text = (page_folder / "LICENSE.txt").read_text()
    for name in (*dicom_codecs.PACKAGES, "OpenJPEG", "CharLS", "Apache License"):
        assert name in text
    for path in (page_folder / "codecs").iterdir():
        assert path.suffix == ".wasm" or "sourceMappingURL" not in path.read_text()


def test_no_source_names_another_site():
    namespace = "http://www.w3.org/"
    for path in [*SOURCES.glob("*.*"), *SOURCES.glob("js/*")]:
        if path.suffix in (".html", ".js", ".css", ".webmanifest", ".svg"):
            assert not [
                url for url in re.findall(r"https?://\S+", path.read_text()) if namespace not in url
            ], path


def test_the_policy_is_the_same_in_the_page_the_server_and_the_manual():
    page = (SOURCES / "index.html").read_text()
    manual = (SOURCES / "README.md").read_text()
    # Where a policy stands in the page, browsers ignore who may frame it.
    in_page = POLICY.removesuffix("; frame-ancestors 'none'")
    assert f'content="{in_page}"' in page
    for name, value in HEADERS.items():
        if name != "Vary":
            assert f'add_header {name} "{value}" always;' in manual


def test_the_version_changes_with_the_content(exported, modules, root, tmp_path):
    versions = set()
    for quality_check in (True, False, True):
        page = build_page(exported, tmp_path / "page", quality_check=quality_check, compress=False)
        versions.add(page.version)
        settings = json.loads((page.folder / "settings.json").read_text())
        assert (settings["film_check"] is not None) == quality_check
        assert (page.folder / "models" / "film_check").exists() == quality_check
    assert len(versions) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["page"]  # nothing is left beside it


def test_another_folder_is_not_overwritten(exported, root, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    for output in (tmp_path, tmp_path / "mine.txt"):
        with pytest.raises(PageError, match="something else than a page"):
            build_page(exported, output)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_without_npm_it_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "package.json").write_text((SOURCES / "package.json").read_text())
    monkeypatch.setattr(litert_js.shutil, "which", lambda name: None)
    with pytest.raises(PageError, match=r"lacks .*@litertjs/core .*apt-get install npm"):
        litert_js.install(tmp_path)


def test_npm_that_fails_is_told_with_its_reason(tmp_path, monkeypatch):
    (tmp_path / "package.json").write_text((SOURCES / "package.json").read_text())
    failed = subprocess.CompletedProcess([], 1, "", "npm error network\n")
    monkeypatch.setattr(litert_js.shutil, "which", lambda name: name)
    monkeypatch.setattr(litert_js.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(PageError, match=r"npm ci failed .*npm error network.*registry"):
        litert_js.install(tmp_path)


def test_compressed_files_are_the_same_and_are_taken_over(tmp_path):
    text, small = tmp_path / "a.js", tmp_path / "b.js"
    text.write_bytes(b"let x = 1;\n" * 200)
    small.write_bytes(b"1")
    compression.compress_files([text, small], {})
    assert gzip.decompress((tmp_path / "a.js.gz").read_bytes()) == text.read_bytes()
    assert not (tmp_path / "b.js.gz").exists()
    if compression.brotli is not None:
        assert (
            compression.brotli.decompress((tmp_path / "a.js.br").read_bytes()) == text.read_bytes()
        )
    assert compression.sent_bytes(text) < 100
    (tmp_path / "a.js.gz").write_bytes(b"made earlier")
    again = tmp_path / "c.js"
    again.write_bytes(text.read_bytes())
    compression.compress_files([again], {again: text})
    assert (tmp_path / "c.js.gz").read_bytes() == b"made earlier"


def test_headers_types_and_encodings(serve, tmp_path):
    for name in ("index.html", "a.js", "m.wasm", "m.tflite", "m.webmanifest"):
        (tmp_path / name).write_bytes(b"plain " * 200)
    compression.compress_files([tmp_path / "m.wasm"], {})
    types = {
        "/": "text/html; charset=utf-8",
        "/a.js": "text/javascript; charset=utf-8",
        "/m.wasm": "application/wasm",
        "/m.tflite": "application/octet-stream",
        "/m.webmanifest": "application/manifest+json",
    }
    with serve(tmp_path) as url:
        for path, kind in types.items():
            status, headers, body = get(url, path)
            assert (status, headers["Content-Type"]) == (200, kind)
            assert headers.items() >= HEADERS.items()
            assert body == b"plain " * 200 and "Content-Encoding" not in headers
        status, headers, body = get(url, "/m.wasm", **{"Accept-Encoding": "gzip, br;q=0"})
        assert headers["Content-Encoding"] == "gzip" and gzip.decompress(body) == b"plain " * 200
        if compression.brotli is not None:
            _, brotli_headers, _ = get(url, "/m.wasm", **{"Accept-Encoding": "gzip, br"})
            assert brotli_headers["Content-Encoding"] == "br"
        changed = get(url, "/m.wasm")[1]["Last-Modified"]
        status, _, body = get(url, "/m.wasm", **{"If-Modified-Since": changed})
        assert (status, body) == (304, b"")


def test_nothing_outside_the_folder_is_served(serve, tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    folder = tmp_path / "page"
    folder.mkdir()
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    with serve(folder) as url:
        for path in ("/../secret.txt", "/%2e%2e/secret.txt", "/link.txt", "/none", "/a%00b", "/"):
            assert get(url, path)[0] == 404, path


def test_a_port_in_use_is_told(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(PageError, match=r"port \d+: .* name another --port"):
            make_server(tmp_path, taken.getsockname()[1])


def test_the_command_builds_without_serving(root, modules, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(build, "_compress", lambda *_: None)
    output = tmp_path / "deep" / "page"
    arguments = ["--mode=web", "--noserve", f"--output={output}", f"--exports_dir={root}/exports"]
    assert cli.main(arguments) == 0
    said = capsys.readouterr().out
    assert f"page: {output}" in said and "first load, compressed" in said
    assert (output / "models" / SHIPPED_MODEL / "model_float16.tflite").is_file()


def test_wrong_use_is_told_without_a_traceback(root, tmp_path, capsys):
    words = ["web", "--noserve", f"--output={tmp_path / 'page'}"]
    assert cli.main([*words, f"--exports_dir={tmp_path}", "--model=cnn"]) == 2
    assert "make it with" in capsys.readouterr().err
    assert cli.main([*words, f"--exports_dir={root / 'exports'}", "--variant=int4"]) == 2
    assert "no variant 'int4'" in capsys.readouterr().err
    assert cli.main(["--mode=web", "--port=70000"]) == 2
    assert cli.main(["--mode=web", "--config.epochs=1"]) == 2
    assert "--config has no effect" in capsys.readouterr().err


def test_without_brotli_gzip_alone_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(compression, "brotli", None)
    path = tmp_path / "a.css"
    path.write_bytes(b"a { color: red }\n" * 100)
    compression.compress_files([path], {})
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.css", "a.css.gz"]
