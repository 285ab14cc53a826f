"""Installs the npm packages of the lock file, and copies LiteRT.js to the page."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

from bone_age_tf.errors import PageError

_CORE, _WASM_UTILS = "@litertjs/core", "@litertjs/wasm-utils"

RUNTIMES = ("litert_wasm_internal", "litert_wasm_compat_internal", "litert_wasm_threaded_internal")
"""Runtimes, of which a browser loads one: with relaxed SIMD, without it, or with it and threads."""

_INSTALL_SECONDS = 300
_SOURCE_MAP = re.compile(r"\n//# sourceMappingURL=\S+\s*$")


def install(sources: Path, with_tests: bool = False) -> Path:
    """Installs the packages in the lock file, unless they are installed.

    Args:
        sources: folder with package.json and package-lock.json.
        with_tests: whether packages that only tests need are installed, too.

    Returns:
        The folder node_modules.

    Raises:
        PageError: npm is missing or fails.
        OSError: the cache cannot be written.
    """
    sources = _writable(sources)
    modules = sources / "node_modules"
    package = json.loads((sources / "package.json").read_text("utf-8"))
    packages = package["dependencies"] | (package["devDependencies"] if with_tests else {})
    missing = [f"{name} {version}" for name, version in packages.items()]
    missing = [each for each in missing if _installed(modules, each.split()[0]) != each.split()[1]]
    if not missing:
        return modules
    npm = shutil.which("npm")
    if npm is None:
        raise PageError(
            f"{modules} lacks {', '.join(missing)} and npm is not on this machine; install "
            "Node.js with npm (Debian: apt-get install npm) and repeat"
        )
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    try:
        done = subprocess.run(
            command if with_tests else [*command, "--omit=dev"],
            cwd=sources,
            capture_output=True,
            text=True,
            timeout=_INSTALL_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise PageError(f"npm ci in {sources} took over {_INSTALL_SECONDS} s; repeat") from None
    if done.returncode:
        reason = done.stderr.strip().splitlines()
        raise PageError(
            f"npm ci failed in {sources} ({reason[0] if reason else done.returncode}); it needs "
            "the npm registry, or a node_modules made elsewhere with the same lock file"
        )
    return modules


def _writable(sources: Path) -> Path:
    """Returns a writable folder with the lock file: the sources, or a cache.

    The files of an installed package are not changed.
    """
    if "site-packages" not in sources.parts and os.access(sources, os.W_OK):
        return sources
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = home / "bone-age-tf" / "page"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(sources / name, folder / name)
    return folder


def _installed(modules: Path, name: str) -> str | None:
    try:
        return json.loads((modules / name / "package.json").read_text("utf-8"))["version"]
    except (OSError, ValueError, KeyError):
        return None


def copy_runtime(modules: Path, folder: Path) -> None:
    """Copies LiteRT.js to the page.

    The only import of a package is replaced by an import of a file, so that the page needs no
    import map and no exception for it in the content security policy.

    Args:
        modules: folder node_modules with the installed packages.
        folder: target folder, which is created.

    Raises:
        PageError: the contents of the package are not as expected.
    """
    (folder / "wasm").mkdir(parents=True)
    text = (modules / _CORE / "dist" / "index.js").read_text("utf-8")
    text, replaced = re.subn(rf"from\s*[\"']{_WASM_UTILS}[\"']", 'from "./wasm-utils.js"', text)
    if not replaced:
        raise PageError(f"{modules / _CORE}: it does not import {_WASM_UTILS}; run npm ci again")
    (folder / "index.js").write_text(_SOURCE_MAP.sub("\n", text), "utf-8")
    utils = (modules / _WASM_UTILS / "dist" / "bundle.js").read_text("utf-8")
    (folder / "wasm-utils.js").write_text(_SOURCE_MAP.sub("\n", utils), "utf-8")
    for name in RUNTIMES:
        for suffix in (".js", ".wasm"):
            shutil.copyfile(
                modules / _CORE / "wasm" / (name + suffix), folder / "wasm" / (name + suffix)
            )
