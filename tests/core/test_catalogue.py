import subprocess
import sys

import pytest

from thalweg.core.catalogue import catalogue


def test_every_module_of_the_folder_is_found():
    found = catalogue()
    assert {"adamw", "sgd", "lbfgs", "muon", "cosine", "label-smoothing"} <= set(found.methods)
    assert set(found.rooms) == set(found.papers)
    for name, method in found.methods.items():
        assert name == method.name
        assert method.summary.endswith("."), name
        assert len(method.summary) < 120, name


def test_two_modules_with_one_name_are_refused(tmp_path, monkeypatch):
    package = tmp_path / "twins"
    package.mkdir()
    (package / "__init__.py").touch()
    for name in "ab":
        (package / f"{name}.py").write_text(
            "from thalweg.core.method import Method\nMETHODS = (Method('x', '', dict),)\n"
        )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="claim the name 'x'"):
        catalogue("twins")


def imports_of(code):
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_importing_the_package_or_the_core_does_not_import_torch():
    assert "torch" not in imports_of("import thalweg")
    assert "numpy" not in imports_of("import thalweg")
    assert "torch" not in imports_of("import thalweg.core.catalogue, thalweg.core.problem")


def test_the_help_does_not_import_torch():
    code = "import thalweg.cli, typer.main\ntyper.main.get_command(thalweg.cli.app)"
    assert "torch" not in imports_of(code)
