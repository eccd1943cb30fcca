"""Which features of plotly a static image can show (`static`); a chart with others is rejected."""

import re

_AXIS = "anchor autorange=reversed domain matches nticks range showticklabels tickangle ticktext tickvals title.text"
_LINE = "line.color line.dash=dash line.dash=dot line.dash=solid line.width"
# The properties that a static image shows. One with a value is shown only with this value.
_SUPPORTED = {
    f"{part}.{name}"
    for part, names in {
        "bar": "marker.color name orientation showlegend type x xaxis y yaxis",
        "heatmap": "colorscale showscale=False text texttemplate=%{text} type x xaxis y yaxis z",
        "layout": "barmode=group height showlegend title.text",
        "layout.annotations": "font.color font.size showarrow=False text x xanchor xref=paper xref=x y yanchor=bottom "
        "yref=paper yref=y",
        "layout.shapes": f"{_LINE} type=line x0 x1 xref=x y0 y1 yref=ydomain",
        "layout.xaxis": f"{_AXIS} type=category",
        "layout.yaxis": f"{_AXIS} type=category",
        "scatter": f"{_LINE} error_x.array error_x.arrayminus error_x.color marker.size mode=lines mode=lines+markers "
        "mode=markers name showlegend type x xaxis y yaxis",
    }.items()
    for name in names.split()
}
# Properties that a chart has to set, because a static image cannot show what plotly does without them.
_REQUIRED = {
    "bar": "marker x y",
    "bar.marker": "color",
    "heatmap": "colorscale showscale x y",
    "layout.annotations": "showarrow xanchor xref yanchor yref",
    "layout.shapes": "type xref yref",
    "scatter": "line mode x y",
    "scatter.error_x": "arrayminus color",
    "scatter.line": "color",
}


def reject_unsupported(figure):
    """Rejects a chart whose static image would look different.

    Args:
        figure: `plotly.graph_objects.Figure`.

    Raises:
        ValueError: The chart sets a property that is not supported, or lacks one that is required. It is named.
    """
    chart = figure.to_plotly_json()
    chart["layout"].pop("template", None)
    parts = [("layout", chart["layout"])] + [(trace["type"], trace) for trace in chart["data"]]
    unsupported = {
        f"{name}: {value!r:.40}"
        for kind, part in parts
        for name, value in _properties(kind, part)
        # The number of an axis, such as "x2", makes no difference.
        if value is None or not _SUPPORTED & {name, re.sub(r"(?<==[xy])\d+| ", "", f"{name}={value}")}
    }
    if unsupported:
        raise ValueError(f"A static image cannot show these properties of the chart: {', '.join(sorted(unsupported))}.")


def _properties(name, part):
    """Yields the name and the value of each property of a part of a chart, such as `("scatter.line.width", 2)`."""
    name = re.sub(r"axis\d+$", "axis", name)
    # An array of numbers is a dict of its type and bytes.
    if isinstance(part, dict) and "bdata" not in part:
        for key, value in (dict.fromkeys(_REQUIRED.get(name, "").split()) | part).items():
            yield from _properties(f"{name}.{key}", value)
    elif name in ("layout.annotations", "layout.shapes"):
        for item in part:
            yield from _properties(name, item)
    else:
        yield name, part
