"""The direction of imports (docs/architecture.md), what `import marnet` may load, and what the package never does."""

import ast
import importlib
import logging
import pkgutil
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "src" / "marnet"
CONTRACTS = ROOT / "pyproject.toml"


def test_imports_flow_one_way(capsys: pytest.CaptureFixture[str]) -> None:
    """The contracts stand in pyproject.toml; an import inside a function counts like any other."""
    known = dict(logging.root.manager.loggerDict)
    code = lint_imports(config_filename=str(CONTRACTS), no_cache=True, no_logo=True)
    for logger in known.values():  # import-linter's own logging set-up switches off those that were there before
        if isinstance(logger, logging.Logger):
            logger.disabled = False
    assert code == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    ("file", "line", "broken"),
    [
        ("errors.py", "import marnet.config", "Imports flow one way BROKEN"),
        (
            "modules/fusion/gated.py",
            "def later():\n    from marnet.encoders import text",
            "Imports flow one way BROKEN",
        ),
        ("data/images.py", "def later():\n    import marnet.cli.app", "Imports flow one way BROKEN"),
        ("newcomer.py", "import marnet.model", "newcomer"),
        ("model.py", "import lightning", "knows Lightning BROKEN"),
    ],
)
def test_the_contracts_notice_a_wrong_import(file: str, line: str, broken: str, tmp_path: Path) -> None:
    copy = tmp_path / "marnet"
    shutil.copytree(SOURCES, copy, ignore=shutil.ignore_patterns("__pycache__"))
    with (copy / file).open("a", encoding="utf-8") as source:
        source.write(f"\n{line}\n")
    lint = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from importlinter.cli import lint_imports; "
        f"sys.exit(lint_imports(config_filename={str(CONTRACTS)!r}, no_cache=True, no_logo=True))"
    )
    done = subprocess.run([sys.executable, "-c", lint], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert broken in done.stdout


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = ["torch", "numpy", "sklearn", "timm", "lightning", "matplotlib", "pydantic"]
    script = f"import sys, marnet; dir(marnet); print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_modules_and_losses_import_neither_pydantic_nor_yaml() -> None:
    script = (
        "import importlib, pkgutil, sys, marnet.losses, marnet.modules\n"
        "for found in pkgutil.walk_packages(marnet.modules.__path__, 'marnet.modules.'):\n"
        "    importlib.import_module(found.name)\n"
        "print([name for name in ('pydantic', 'yaml', 'marnet.config') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_scripts_beside_the_package_name_only_things_that_are_there() -> None:
    """Benchmarks and the scripts that draw pictures are run by hand, long after the things they name were moved."""
    scripts = [path for folder in ("benchmarks", "docs", "examples") for path in (ROOT / folder).glob("*.py")]
    assert len(scripts) > 10
    lost = []
    for path in scripts:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "marnet":
                module = importlib.import_module(str(node.module))
                modules = {each.name for each in pkgutil.iter_modules(getattr(module, "__path__", []))}
                lost += [
                    f"{path.name}: {each.name}"
                    for each in node.names
                    if each.name not in modules and not hasattr(module, each.name)
                ]
    assert lost == []


def test_every_public_name_can_be_had() -> None:
    import marnet

    missing = [name for name in marnet.__all__ if getattr(marnet, name, None) is None]
    assert missing == []
    with pytest.raises(AttributeError, match="module 'marnet' has no attribute 'nonsense'"):
        _ = marnet.nonsense


def test_source_has_no_assert_and_no_bare_kwargs() -> None:
    """Input is refused with an exception, which `python -O` keeps, and every option has a name."""
    offences = []
    for path in sorted(SOURCES.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Assert):
                offences.append(f"{path.name}:{node.lineno}: assert")
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.args.kwarg is not None:
                offences.append(f"{path.name}:{node.lineno}: **{node.args.kwarg.arg}")
    assert offences == []


def test_only_the_command_line_knows_flags() -> None:
    """The library names settings and arguments, which the command line turns into flags (`cli/flags.py`)."""
    flag = re.compile(r"(^|[^-])--[a-z]")
    offences = [
        f"{path.relative_to(SOURCES)}:{number}: {line.strip()}"
        for path in sorted(SOURCES.rglob("*.py"))
        if path.relative_to(SOURCES).parts[0] != "cli"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if flag.search(line)
    ]
    assert offences == []
