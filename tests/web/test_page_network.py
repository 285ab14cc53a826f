"""Nothing leaves the device: no request once the page is loaded, and none to others before."""

import re
import shutil

import pytest

pytestmark = pytest.mark.slow

IS_WAITING = "navigator.serviceWorker.getRegistration().then((found) => found.waiting !== null)"
"""Whether a new version is installed."""


def test_no_request_after_load_and_none_to_others(visit, light_address, hands):
    found = visit(light_address)
    found.wait_until_kept()
    assert found.requests and all(url.startswith(light_address) for url in found.requests)
    assert any("litert_wasm" in url for url in found.requests)
    before = len(found.requests)
    found.read(hands[0], hands[2])
    found.card().get_by_role("button", name="Show where it matters").click()
    found.wait(lambda: found.card().locator(".map").is_visible())
    found.csv()
    found.page.wait_for_timeout(500)
    # The table is made in the page; it has a blob: address and goes nowhere.
    after = [url for url in found.requests[before:] if not url.startswith("blob:")]
    assert not after
    assert not found.messages  # the policy was not violated


def test_the_policy_stops_what_is_not_ours(visit, light_address):
    found = visit(light_address)
    tried = found.page.evaluate("""async () => {
      const fetched = await fetch("http://127.0.0.1:9/").then(() => "sent", () => "stopped");
      const script = document.createElement("script");
      script.textContent = "window.inline = true";
      document.body.append(script);
      return [fetched, window.inline ?? "stopped"];
    }""")
    assert tried == ["stopped", "stopped"]
    assert len([text for text in found.messages if "Content Security Policy" in text]) >= 2


def test_it_works_offline_after_the_first_load(visit, serve, page_folder, hands):
    with serve(page_folder) as url:
        found = visit(url)
        found.wait_until_kept()
        found.read(hands[0])
        age = found.card().locator(".answer").get_attribute("data-age")
    found.page.context.set_offline(True)  # and the server is gone
    for address in (url, f"{url}index.html"):
        found.page.goto(address)
        found.wait(lambda: found.page.get_attribute("#ready", "data-state") == "ready")
        found.read(hands[0])
        assert found.card().locator(".answer").get_attribute("data-age") == age


def test_a_new_version_takes_over_whole(visit, serve, light_page, tmp_path):
    folder = shutil.copytree(light_page, tmp_path / "page")
    with serve(folder) as url:
        found = visit(url)
        found.wait_until_kept()
        old = found.page.evaluate("caches.keys()")
        for name, pattern, new in (
            ("index.html", "<h1>.*?</h1>", "<h1>A newer page</h1>"),
            ("files.js", r'"version": "\w+"', '"version": "newer"'),
        ):
            text = (folder / name).read_text()
            (folder / name).write_text(re.sub(pattern, new, text))
        context = found.page.context

        def reopened():
            found.page.close()  # the old version stays as long as one of its pages is open
            found.page = context.new_page()
            found.page.goto(url)
            found.wait(lambda: found.page.get_attribute("#ready", "data-state") == "ready")
            return found.page.inner_text("h1")

        assert reopened() == "Bone age"
        found.wait(lambda: found.page.evaluate(IS_WAITING))
        found.wait(lambda: reopened() == "A newer page")
        assert len(old) == 1
        assert found.page.evaluate("caches.keys()") == ["bone-age-newer"]
        context.set_offline(True)
        found.page.reload()
        found.wait(lambda: found.page.get_attribute("#ready", "data-state") == "ready")


def test_where_nothing_can_be_kept_it_works_online(visit, light_address, hands):
    found = visit(light_address, service_workers="block")
    assert found.page.inner_text("#ready-text") == "Ready."
    found.read(hands[0])
    assert found.card().locator(".age").inner_text().endswith("months")
