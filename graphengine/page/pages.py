"""One HTML file that shows a model: it holds all it needs, asks no network, and can run no text of a model file.

The picture and the charts are drawn here; the script beside them (`page/`) moves through the frames. The content
security policy names the hashes of the one script and the one style sheet, so nothing else in the page can run or load.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence, Sized
from functools import cache
from importlib import resources
from string import Template
from typing import Any

from graphengine.draw.charts import HEIGHT, WIDTH
from graphengine.draw.charts import STYLE as CHARTS
from graphengine.draw.labels import TraceLabels
from graphengine.draw.picture import Panel, panels_of
from graphengine.draw.svg import BASE, PALETTE, SHAPES, panel_elements
from graphengine.errors import UsageError
from graphengine.escaping import markup, script_json
from graphengine.model.model import Model
from graphengine.page.film import Film, film_of
from graphengine.page.fit_report import FitReport, table_html
from graphengine.page.gauges import Gauge, gauges_of
from graphengine.page.outcome_gauges import outcome_gauges
from graphengine.page.scenes import geometry, scenes
from graphengine.training.provenance import provenance_in

COMPUTING = ("film", "arrays", "numbers", "kernels", "program")
"""The parts of the script that compute."""
MODULES = (
    *COMPUTING,
    "turn",
    "geometry",
    "graph",
    "zoom",
    "gauges",
    "details",
    "filling",
    "follow",
    "live",
    "loops",
    "player",
    "keys",
    "main",
)
"""The parts of the script in the order in which each finds those it uses."""

MAX_NODES = 20_000
"""A page of a larger graph would be larger than browsers like to open."""


def page_of(model: Model, inputs: Mapping[str, Any] | None = None) -> str:
    """The page of a model: its training as a film, or one evaluation on the given inputs.

    Raises
    ------
    UsageError
        GE801 if the graph has more than `MAX_NODES` nodes.
    GraphEngineError
        As training or evaluating the model does; a training that diverges is shown as far as it comes.
    """
    _require_few(model.graph.nodes)
    fitted = _fitted(model)
    film = film_of(model, inputs)
    labeled = [TraceLabels(frame.trace) for frame in film.frames]
    texts = cache(lambda link: [text for each in labeled for text in each(link)[:2]])
    panels, down = (list(panels_of(model.graph, texts, down=down)) for down in (False, True))
    gauges = _gauges(model, film)
    script, style = "\n" + script_of(MODULES), _style()
    return Template(_file("page.html")).substitute(
        script=script,
        style=style,
        script_hash=_hash(script),
        style_hash=_hash(style),
        name=markup(model.graph.name),
        description=markup(model.document.description or model.graph.summary),
        picture=_picture(panels, labeled[0]),
        gauges="\n".join(map(_gauge, gauges)),
        fitted=fitted,
        film=script_json(scenes(model, film, panels, gauges) | {"down": geometry(down)}),
    )


def _require_few(nodes: Sized) -> None:
    if len(nodes) > MAX_NODES:
        message = f"the graph has {len(nodes)} nodes, and a page shows at most {MAX_NODES}"
        raise UsageError(message, hint="show --format svg draws its parts as boxes")


def _gauges(model: Model, film: Film) -> list[Gauge]:
    """All charts of a training; none where nothing is trained."""
    gauges = gauges_of(model, film)
    return gauges and [*gauges, *outcome_gauges(model, film, film.loss)]


def _fitted(model: Model) -> str:
    """The tables of the fit that a model's values come from, in a section, or why it cannot be read; else nothing."""
    try:
        fit = model.last_fit
    except UsageError as error:
        return f'<section id="fitted"><p>{markup(error.problems[0].message)}</p></section>'
    if fit is None:
        return ""
    report = FitReport(model.graph, fit, provenance_in(model.as_document().metadata), {})
    tables = "\n".join(map(table_html, report.tables()))
    return f'<section id="fitted" aria-label="fit">\n{tables}\n</section>'


def _file(name: str) -> str:
    return (resources.files("graphengine.page") / "assets" / name).read_text(encoding="utf-8")


def script_of(modules: Sequence[str]) -> str:
    """Modules as one script: each is a function, which takes what it imports from those before it."""
    return "\n".join(map(_module, modules))


def _module(name: str) -> str:
    text = _file(f"{name}.js")
    exported = re.findall(r"^export (?:function|const) (?:\{ (.+) \}|(\w+))", text, re.MULTILINE)
    body = re.sub(r'^import (.+) from "\./(\w+)\.js";$', r"const \1 = $\2;", text, flags=re.MULTILINE)
    body = re.sub(r"^export (?=\w)", "", body, flags=re.MULTILINE)
    return f"const ${name} = (() => {{\n{body}return {{ {', '.join(map(''.join, exported))} }};\n}})();"


def _style() -> str:
    colors = "".join(f"--{name}:light-dark({light},{dark});" for name, (light, dark) in PALETTE.items())
    return f"\n:root{{{colors}}}\n{BASE}{SHAPES}{CHARTS}{_file('page.css')}"


def _hash(text: str) -> str:
    """The hash of an inline script or style sheet as a content security policy names it."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _picture(panels: Sequence[Panel], labeled: TraceLabels) -> str:
    """All panels, one after the other; the script puts them where they belong and shows those that are open."""
    parts = []
    for index, panel in enumerate(panels):
        frame = f'<rect class="frame" width="{panel.width}" height="{panel.height}" rx="8"/>' if index else ""
        title = f'<text class="heading" x="14" y="18">{markup(panel.title)}</text>' if index else ""
        elements = "\n".join(panel_elements(panel, labeled, changing=True))
        parts.append(f'<g class="panel{" closed" * (index > 0)}">{frame}{title}<g>{elements}</g></g>')
    return "\n".join(parts)


def _gauge(gauge: Gauge) -> str:
    frame = f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{markup(gauge.name)}"'
    return f'<svg class="ge gauge {gauge.name}" {frame}>{"".join(gauge.elements)}</svg>'
