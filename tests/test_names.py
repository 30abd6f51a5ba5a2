"""No public name of the package means two things."""

import ast
from collections import defaultdict
from pathlib import Path

import vitrine

ROLES = {"REVISION", "TABLES"}
"""What modules of one kind have each for itself,"""

KINDS = {"fetch", "fetched_files", "run"}
"""what studies that are computed and studies that are imported both need,"""

COMMANDS = {"main", "fetch", "freeze", "render", "run"}
"""and a command with the function that it calls."""


def test_no_public_name_means_two_things() -> None:
    package, modules = Path(vitrine.__file__).parent, defaultdict(list)
    for path in sorted(package.rglob("*.py")):
        # A question that is asked of two parts of the report has the same name in both.
        part = path.relative_to(package)
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            for name in _defined(node):
                modules[name].append("findings" if "findings" in part.parts else str(part))
    several = {name for name, where in modules.items() if len({*where}) > 1}
    assert {name for name in several if not name.startswith("_")} <= ROLES | KINDS | COMMANDS


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else []
    targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
    return [target.id for target in targets if isinstance(target, ast.Name)]
