"""``assets/vega.js``: Vega, Vega-Lite and vega-embed as one classic script.

vl-convert holds the libraries and bundles them without a network. Its bundle is written for a
page's own script element, where its top-level names would be global; here it is closed in a
function, so that the one name it adds to a page is ``vegaEmbed``.
"""

from importlib import metadata
from pathlib import Path

from vitrine.files import write_atomically
from vitrine.project import Project

VEGA = "assets/vega.js"

_HEADER = Path(__file__).with_name("vega_licence.txt")


def write_vega(project: Project, unchanged: bool) -> None:
    """Write the bundle for the Vega-Lite version that Altair draws in.

    It is left alone when ``unchanged`` (since it was last written) and made of the same versions.
    Raises ``Unwritten`` when the file cannot be written.
    """
    import vl_convert
    from altair.vegalite import SCHEMA_VERSION

    version = ".".join(SCHEMA_VERSION.removeprefix("v").split(".")[:2])  # as vl-convert names it
    header = _HEADER.read_text(encoding="utf-8").format(
        vega=vl_convert.get_vega_version(),
        vega_lite=version,
        vega_embed=vl_convert.get_vega_embed_version(),
        vl_convert=metadata.version("vl-convert-python"),
    )
    path = project.root / VEGA
    if unchanged and path.read_bytes().startswith(header.encode()):
        return
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=version)
    script = f'{header}(function () {{\n"use strict";\n{bundle}\n}})();\n'
    write_atomically(path, script.encode())
