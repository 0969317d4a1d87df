"""The documentation builds without a warning, asks for nothing from the network, and its reference is complete."""

import html
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import marnet
from write_reference import commands, settings, write

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built site."""
    folder = tmp_path_factory.mktemp("documentation")
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=shutil.ignore_patterns("reference", "__pycache__"))
    shutil.copy(ROOT / "mkdocs.yml", folder)  # a link would lead the build back to ROOT
    (folder / "src").symlink_to(ROOT / "src")
    write(folder / "docs" / "reference")
    build = [sys.executable, "-m", "zensical", "build", "--strict"]
    environment = {**os.environ, "NO_COLOR": "1"}
    done = subprocess.run(build, cwd=folder, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


def _read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def test_every_public_name_is_on_the_page_of_the_python_reference(site: Path) -> None:
    page = _read(site / "reference" / "python.html")
    names = [name for name in marnet.__all__ if not isinstance(getattr(marnet, name), str)]
    assert names
    assert [name for name in names if f'id="marnet.{name}"' not in page] == []


def test_every_command_and_option_is_on_the_page_of_the_command_line(site: Path) -> None:
    page = _read(site / "reference" / "commands.html")
    parts = re.findall(r'<h2 id="([^"]+)"(.*?)(?=<h2 |</article>)', page, re.DOTALL)
    found = {name: re.sub(r"<[^>]+>", "", part) for name, part in parts}
    known = list(commands())
    assert {"marnet train", "marnet compare", "marnet data check"} <= {command.name for command in known}
    for command in known:
        section = html.unescape(found[command.name.replace(" ", "-")])
        assert [option.name for option in command.options if option.name not in section] == []


def test_every_setting_is_on_the_page_of_the_settings_with_its_default(site: Path) -> None:
    page = html.unescape(_read(site / "reference" / "settings.html"))
    rows = dict(re.findall(r'<span id="([^"]+)">(.*?)</tr>', page, re.DOTALL))
    known = list(settings())
    assert {"method", "training.lr", "data.columns.text"} <= {setting.name for setting in known}
    assert [setting.name for setting in known if setting.name not in rows] == []
    for setting in known:
        assert f"<code>{setting.default.strip('`')}</code>" in rows[setting.name], setting.name


def test_every_setting_is_described() -> None:
    assert [setting.name for setting in settings() if not setting.description] == []


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    """Links may lead anywhere; scripts, styles, fonts and pictures are files of the site."""
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    fetched = re.compile(r'<(?:script|img|iframe|source)[^>]*\bsrc="(?:https?:)?//|<link[^>]*\bhref="(?:https?:)?//')
    assert [page.name for page in pages if fetched.search(_read(page))] == []
    styles = "".join(_read(sheet) for sheet in site.rglob("*.css"))
    assert re.findall(r"url\(\s*[\"']?(?:https?:)?//", styles) == []


def test_every_page_of_the_documentation_is_in_the_navigation(site: Path) -> None:
    home = _read(site / "index.html")
    linked = {target.removeprefix("./") for target in re.findall(r'href="([^"#]+)"', home)}
    sources = [page for page in (ROOT / "docs").rglob("*.md") if page.stem != "index" or page.parent.name != "docs"]
    pages = {page.relative_to(ROOT / "docs").with_suffix(".html").as_posix() for page in sources}
    assert len(pages) > 20
    assert pages - linked == set()


def test_pages_fit_a_phone_and_a_screen(site: Path, look) -> None:  # type: ignore[no-untyped-def]
    for page in ("index.html", "results.html", "reference/settings.html"):
        for width in (375, 1280):
            found = look(site / page, width)
            assert found.widths[0] <= found.widths[1], (page, width, found.too_wide)
