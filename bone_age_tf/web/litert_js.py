"""LiteRT.js from the npm registry: installed as the lock file says, copied for the page."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

from bone_age_tf.errors import PageError

_CORE, _WASM_UTILS = "@litertjs/core", "@litertjs/wasm-utils"

RUNTIMES = ("litert_wasm_internal", "litert_wasm_compat_internal", "litert_wasm_threaded_internal")
"""Of these a browser loads one: with relaxed SIMD, without it, or with it and threads."""

_INSTALL_SECONDS = 300
_SOURCE_MAP = re.compile(r"\n//# sourceMappingURL=\S+\s*$")


def install(sources: Path, with_tests: bool = False) -> Path:
    """Installs what the lock file names, unless it is there.

    Args:
        sources: folder with package.json and package-lock.json.
        with_tests: whether what only tests need is installed too.

    Returns:
        The folder node_modules.

    Raises:
        PageError: npm is missing or fails.
        OSError: the cache cannot be written.
    """
    sources = _writable(sources)
    modules = sources / "node_modules"
    package = json.loads((sources / "package.json").read_text("utf-8"))
    wanted = package["dependencies"] | (package["devDependencies"] if with_tests else {})
    missing = [f"{name} {version}" for name, version in wanted.items()]
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
    """Returns a folder with the lock file in which npm can write: the sources, or a cache.

    An installed package is left as it was installed.
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
    """Copies LiteRT.js to where the page asks for it.

    The one import that names a package is made to name a file, so that no import map, and no hole
    for it in the content security policy, is needed.

    Args:
        modules: node_modules, with the packages installed.
        folder: where to; made.

    Raises:
        PageError: the package is not as this version of it should be.
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
