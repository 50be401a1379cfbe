"""The HTML report: what untrusted text may do, how large it is, and what a browser makes of it.

Without chromium and chromedriver the browser's tests are skipped, unless COCOS_BROWSER=required.
"""

import os
import random
import re
import shutil

import pytest

from rl.report.__main__ import main
from rl.report.charts import accuracy_chart, flow_chart
from rl.report.page import line_ranges, page, transition

HOSTILE = "</script><script>window.broken = 1</script><img src=x onerror='window.broken = 2'> \u2028 <!--"
WORDS = ("chromium", "chromedriver")


def record(number, statuses, text="Write a function.", code="def f(x):\n    return x", sample=0):
    turns = [
        {
            "code": f"{code}\n# turn {t}",
            "status": status,
            "passed": 3 if status == "passed" else 1,
            "total": 3,
            "finish_reason": "stop",
            "num_tokens": 20,
            "tests": [{"status": status, "error": "" if status == "passed" else "ValueError: 7", "inline": False}],
        }
        for t, status in enumerate(statuses, 1)
    ]
    return {"problem_id": str(number), "sample": sample, "test_list": ["assert f(1) == 1"], "text": text, "turns": turns}


def some_records():
    kinds = [("failed", "passed"), ("passed", "failed"), ("passed", "passed"), ("failed", "failed"), ("failed", "infra_error")]
    return [record(i, kinds[i % 5], f"Task {i} of many, about {'trees' if i % 2 else 'lists'}.") for i in range(250)]


def test_transitions():
    cases = {"pp": "cc", "ff": "ii", "fp": "ic", "pf": "ci", "fpf": "o", "pfp": "o", "fpp": "ic", "px": "x"}
    words = {"p": "passed", "f": "failed", "x": "infra_error"}
    assert {case: transition([words[c] for c in case]) for case in cases} == cases


def test_line_ranges_rebuild_the_correction():
    before, after = "a\nb\nc\nd", "a\nB\nB2\nd\ne"
    ranges = line_ranges(before, after)
    assert ranges == [["e", 0, 1, 0, 1], ["r", 1, 3, 1, 3], ["e", 3, 4, 3, 4], ["i", 4, 4, 4, 5]]
    rebuilt = [line for kind, i1, i2, j1, j2 in ranges for line in (before, after)[kind != "e"].split("\n")[(i1, j1)[kind != "e"] : (i2, j2)[kind != "e"]]]  # fmt: skip  # noqa: E501
    assert rebuilt == after.split("\n")


def test_a_chart_puts_a_value_where_it_belongs():
    rate = {"value": 0.5, "low": 0.25, "high": 1.0}
    chart = accuracy_chart({"accuracy@1": rate, "accuracy@2": {"value": 1.0, "low": 1.0, "high": 1.0}}, 2)
    heights = {text: float(y) for y, text in re.findall(r'y="([\d.]+)" text-anchor="end">(\d+)%', chart)}
    dots = [float(y) for y in re.findall(r'cy="([\d.]+)"', chart)]
    assert dots == pytest.approx([heights["50"] - 4, heights["100"] - 4], abs=0.11)


def test_the_bands_are_as_thick_as_their_counts():
    chart = flow_chart(some_records(), 2)
    words = dict(re.findall(r"<title>(.+?): (\d+)</title>", chart))
    assert words == {f"{a} → {b}": "50" for a in ("right", "wrong") for b in ("right", "wrong")}
    assert len({height for height in re.findall(r" v([\d.]+) ", chart)}) == 1


def test_a_turn_in_the_middle_has_its_count_below():
    chart = flow_chart([record(0, ("failed", "passed", "failed")), record(1, ("failed", "failed", "passed"))], 3)
    assert ">turn 2: 1 right<" in chart
    assert chart.count(">wrong<") == 2


def test_hostile_text_stays_text():
    written = page({HOSTILE: [record(HOSTILE, ("failed", "passed"), HOSTILE, HOSTILE + "\ud800")]})
    assert written.count("<script") == written.count("</script>") == 2  # the data and ours
    assert "<img" not in written
    assert "<!--" not in written
    written.encode()
    assert not re.search(r"<[^>]*\s(?:src|href)\s*=|@import|url\(", written.split("<script")[0])


def test_a_thousand_problems_are_less_than_five_megabytes():
    rng = random.Random(0)
    records = []
    for number in range(1000):
        body = "\n".join(f"    value_{i} = items[{rng.randrange(9)}] + limit * {rng.randrange(100)}" for i in range(20))
        text = "Write a function to find the larger of two values that meet a condition, " * 3
        records.append(record(number, rng.choices(["passed", "failed"], k=2), text, f"def f(items, limit):\n{body}"))
    assert 1_000_000 < len(page({"a": records}).encode()) < 5_000_000


def test_the_command(tmp_path, capsys):
    assert main([str(tmp_path / "none.jsonl")]) == 2
    assert "no such file; give the samples.jsonl" in capsys.readouterr().err
    (tmp_path / "bad.jsonl").write_text('{"a": 1}\n')
    assert main([str(tmp_path / "bad.jsonl"), "--output", str(tmp_path / "x.html")]) == 2
    assert "not samples of evaluate.py" in capsys.readouterr().err


@pytest.fixture(scope="module")
def browse(tmp_path_factory):
    """A function that opens a page in a browser of a certain width."""
    missing = [name for name in WORDS if not shutil.which(name)]
    if missing and os.environ.get("COCOS_BROWSER") != "required":
        pytest.skip(f"no {' and no '.join(missing)} here; apt-get install chromium chromium-driver")
    assert not missing, f"COCOS_BROWSER=required, and {missing} are not installed"
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    opened = []

    def browse(written, width, scheme="light"):
        folder = tmp_path_factory.mktemp("browser")
        (folder / "report.html").write_text(written, encoding="utf-8")
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium")
        for flag in (
            "headless no-sandbox disable-gpu no-first-run disable-background-networking disable-component-update disable-sync "
            f"disable-dev-shm-usage user-data-dir={folder / 'profile'}"
        ).split():
            options.add_argument(f"--{flag}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        browser = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        opened.append(browser)
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 700}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
        browser.get((folder / "report.html").as_uri())
        return browser

    yield browse
    for browser in opened:
        browser.quit()


def rows(browser):
    return browser.find_elements("css selector", "#list details")


def has_no_sideways_scroll(browser):
    wide, window = browser.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    return wide <= window


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_the_page_in_a_browser(browse, width, scheme):
    records = some_records()
    records[0] = record(0, ("failed", "passed"), HOSTILE, HOSTILE + " " + "long " * 100)
    browser = browse(page({"model": records}), width, scheme)
    assert len(rows(browser)) == 100
    assert browser.find_element("id", "count").text == "250 of 250"
    assert has_no_sideways_scroll(browser)
    # The keyboard opens a problem, and its attempts are there as text.
    browser.execute_script("arguments[0].focus()", rows(browser)[0].find_element("tag name", "summary"))
    browser.switch_to.active_element.send_keys("\ue007")  # Enter
    sides = rows(browser)[0].find_elements("css selector", ".side")
    assert [side.find_element("css selector", ".tag").text for side in sides] == ["failed", "passed"]
    assert "window.broken = 1" in sides[0].text
    assert "ValueError: 7" in sides[0].text
    assert len(rows(browser)[0].find_elements("css selector", ".row.add")) == 1
    assert (sides[0].location["y"] == sides[1].location["y"]) == (width > 700)
    assert browser.execute_script("return window.broken") is None
    assert has_no_sideways_scroll(browser)
    # The filters, alone and together.
    browser.find_element("css selector", "#kind option[value=ci]").click()
    assert {row.find_element("css selector", ".tag").text for row in rows(browser)} == {"right → wrong"}
    assert browser.find_element("id", "count").text == "50 of 250"
    browser.find_element("id", "text").send_keys("TREES task")
    assert browser.find_element("id", "count").text == "25 of 250"
    browser.find_element("id", "text").send_keys(" nowhere")
    assert "Nothing matches" in browser.find_element("id", "list").text
    background = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background)[:3])) > 600) == (scheme == "light")
    assert browser.get_log("browser") == []


def test_further_samples_and_several_evaluations(browse):
    records = [record(1, ("failed", "passed"), "Sort it.", sample=s) for s in range(3)]
    browser = browse(page({"first": records, "second": records[:1]}), 1440)
    assert [row.text for row in rows(browser)][2] == "wrong → right\n1 #3\nSort it."
    browser.find_element("css selector", "#which option[value='1']").click()
    assert len(rows(browser)) == 1
    assert browser.get_log("browser") == []
