"""``assets/vega.js``: Vega, Vega-Lite and vega-embed as one classic script.

vl-convert holds the libraries and bundles them without a network. Its bundle is written for a
page's own script element, where its top-level names would be global; here it is closed in a
function, so that the one name it adds to a page is ``vegaEmbed``.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from vitrine.errors import ChapterError
from vitrine.project import Project

VEGA = "assets/vega.js"

_HEADER = """\
/*! Vega {vega}, Vega-Lite {vega_lite}, vega-embed {vega_embed}, bundled by vl-convert {vl_convert}.
 * Sets window.vegaEmbed. Written by `vitrine freeze`; do not edit.
 *
 * Vega, Vega-Lite and vega-embed:
 * Copyright (c) 2015-2025, University of Washington Interactive Data Lab and contributors.
 * Parts of D3 and TopoJSON: Copyright 2010-2023 Mike Bostock (ISC licence, BSD 3-clause).
 * Smaller parts under the MIT and ISC licences: json-stringify-pretty-compact, fast-deep-equal,
 * fast-json-patch, semver, delaunator, robust-predicates, internmap.
 *
 * Redistribution and use in source and binary forms, with or without modification, are permitted
 * provided that the following conditions are met:
 *
 * 1. Redistributions of source code must retain the above copyright notice, this list of
 *    conditions and the following disclaimer.
 * 2. Redistributions in binary form must reproduce the above copyright notice, this list of
 *    conditions and the following disclaimer in the documentation and/or other materials provided
 *    with the distribution.
 * 3. Neither the name of the copyright holder nor the names of its contributors may be used to
 *    endorse or promote products derived from this software without specific prior written
 *    permission.
 *
 * THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS "AS IS" AND ANY EXPRESS OR
 * IMPLIED WARRANTIES, INCLUDING, BUT NOT LIMITED TO, THE IMPLIED WARRANTIES OF MERCHANTABILITY AND
 * FITNESS FOR A PARTICULAR PURPOSE ARE DISCLAIMED. IN NO EVENT SHALL THE COPYRIGHT HOLDER OR
 * CONTRIBUTORS BE LIABLE FOR ANY DIRECT, INDIRECT, INCIDENTAL, SPECIAL, EXEMPLARY, OR
 * CONSEQUENTIAL DAMAGES (INCLUDING, BUT NOT LIMITED TO, PROCUREMENT OF SUBSTITUTE GOODS OR
 * SERVICES; LOSS OF USE, DATA, OR PROFITS; OR BUSINESS INTERRUPTION) HOWEVER CAUSED AND ON ANY
 * THEORY OF LIABILITY, WHETHER IN CONTRACT, STRICT LIABILITY, OR TORT (INCLUDING NEGLIGENCE OR
 * OTHERWISE) ARISING IN ANY WAY OUT OF THE USE OF THIS SOFTWARE, EVEN IF ADVISED OF THE
 * POSSIBILITY OF SUCH DAMAGE.
 *
 * ISC: Permission to use, copy, modify, and/or distribute this software for any purpose with or
 * without fee is hereby granted, provided that the above copyright notice and this permission
 * notice appear in all copies. THE SOFTWARE IS PROVIDED "AS IS" AND THE AUTHOR DISCLAIMS ALL
 * WARRANTIES WITH REGARD TO THIS SOFTWARE INCLUDING ALL IMPLIED WARRANTIES OF MERCHANTABILITY AND
 * FITNESS. IN NO EVENT SHALL THE AUTHOR BE LIABLE FOR ANY SPECIAL, DIRECT, INDIRECT, OR
 * CONSEQUENTIAL DAMAGES OR ANY DAMAGES WHATSOEVER RESULTING FROM LOSS OF USE, DATA OR PROFITS,
 * WHETHER IN AN ACTION OF CONTRACT, NEGLIGENCE OR OTHER TORTIOUS ACTION, ARISING OUT OF OR IN
 * CONNECTION WITH THE USE OR PERFORMANCE OF THIS SOFTWARE.
 *
 * MIT: Permission is hereby granted, free of charge, to any person obtaining a copy of this
 * software and associated documentation files (the "Software"), to deal in the Software without
 * restriction, including without limitation the rights to use, copy, modify, merge, publish,
 * distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the
 * Software is furnished to do so, subject to the following conditions: the above copyright notice
 * and this permission notice shall be included in all copies or substantial portions of the
 * Software. THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED,
 * INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE
 * AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM,
 * DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
 * OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
 */
"""


def write_vega(project: Project, unchanged: bool = False) -> bool:
    """Write the bundle for the Vega-Lite version that Altair draws in; whether it was written.

    It is left alone when ``unchanged`` (since it was last written) and made of the same versions.
    Raises ``ChapterError`` when the file cannot be written.
    """
    import vl_convert

    version = _vega_lite_version()
    header = _HEADER.format(
        vega=vl_convert.get_vega_version(),
        vega_lite=version,
        vega_embed=vl_convert.get_vega_embed_version(),
        vl_convert=metadata.version("vl-convert-python"),
    )
    path = project.root / VEGA
    if unchanged and _starts_with(path, header):
        return False
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=version)
    script = f'{header}(function () {{\n"use strict";\n{bundle}\n}})();\n'
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f".{path.name}.new")
        new.write_bytes(script.encode())
        new.replace(path)
    except OSError as error:
        raise ChapterError(
            f"{VEGA} cannot be written ({error.strerror})", "Check the permissions of assets/"
        ) from None
    return True


def _vega_lite_version() -> str:
    """The Vega-Lite version of Altair's charts, as vl-convert names it ("6.1")."""
    from altair.vegalite import SCHEMA_VERSION

    return ".".join(SCHEMA_VERSION.removeprefix("v").split(".")[:2])


def _starts_with(path: Path, header: str) -> bool:
    with path.open("rb") as file:
        return file.read(len(header.encode())) == header.encode()
