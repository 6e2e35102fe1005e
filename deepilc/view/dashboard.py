"""The web page of a run or a bag: curves, the last episode, and why it may not be learning."""

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from deepilc.errors import UserError
from deepilc.view.figures import FIGURES, draw
from deepilc.view.shown import Shown
from deepilc.view.why import Fact

if TYPE_CHECKING:
    import dash

__all__ = ["page", "serve"]

REFRESH = 2_000  # ms between two looks at the files
TOOLS: Any = {"displaylogo": False, "modeBarButtonsToRemove": ["lasso2d", "select2d"]}
LOOK = {"backgroundColor": "#FFF2CC"}
CELL = {"padding": "0.15rem 0.8rem 0.15rem 0.3rem", "textAlign": "left", "verticalAlign": "top"}


def page(data: Shown) -> "dash.Dash":
    """The page of a run or a bag; it looks at the files again every two seconds.

    Raises:
        UserError: Dash is missing.
    """
    try:
        from dash import Dash, Input, Output, State, dcc, html
        from dash.exceptions import PreventUpdate
    except ImportError:
        raise UserError(
            "the dashboard needs Dash, which is not installed: pip install '.[dashboard]'"
        ) from None
    app = Dash("deepilc", title=f"deepilc: {data.path.name}", update_title="")
    drawn: dict[str, Any] = {}
    one_at_a_time = threading.Lock()

    def newest() -> dict[str, Any]:
        """All parts of the page, of the newest files; drawing takes longer than a look."""
        with one_at_a_time:
            if drawn.get("stamp") != (stamp := data.stamp):
                error = data.model_error()
                drawn.update(
                    stamp=stamp,
                    figures=draw(data, error),
                    status="; ".join(data.progress()),
                    facts=_table(data.facts(error)),
                )
        return drawn

    def layout() -> html.Div:
        now = newest()
        graphs = [dcc.Graph(id=name, figure=now["figures"][name], config=TOOLS) for name in FIGURES]
        columns = "repeat(auto-fit, minmax(34rem, 1fr))"
        return html.Div(
            [
                html.H2(data.title),
                html.P(now["status"], id="status"),
                html.H4("Why is it not learning?", style={"margin": "0.5rem 0"}),
                html.Div(now["facts"], id="facts"),
                html.Div(graphs, style={"display": "grid", "gridTemplateColumns": columns}),
                dcc.Store(id="shown", data=str(now["stamp"])),
                dcc.Interval(id="clock", interval=REFRESH),
            ],
            style={"fontFamily": "sans-serif", "margin": "1rem"},
        )

    app.layout = layout

    @app.callback(
        [
            Output("shown", "data"),
            Output("status", "children"),
            Output("facts", "children"),
            *(Output(name, "figure") for name in FIGURES),
        ],
        Input("clock", "n_intervals"),
        State("shown", "data"),
        prevent_initial_call=True,
    )
    def refresh(_: int | None, shown: str) -> list[Any]:
        now = newest()
        if str(now["stamp"]) == shown:
            raise PreventUpdate
        figures = [now["figures"][name] for name in FIGURES]
        return [str(now["stamp"]), now["status"], now["facts"], *figures]

    return app


def _table(facts: Sequence[Fact]) -> Any:
    """Facts one under the other; what wants a look is marked."""
    from dash import html

    if not facts:
        return html.P("Nothing is known yet.")
    rows = [
        html.Tr(
            [html.Td(text, style=CELL) for text in (fact.name, fact.value, fact.meaning)],
            style=LOOK if fact.look else {},
            className="look" if fact.look else "",
        )
        for fact in facts
    ]
    head = html.Tr([html.Th(text, style=CELL) for text in ("what", "value", "meaning")])
    marked = html.P("Marked lines want a look.", style={"color": "#666", "fontSize": "0.8rem"})
    return [html.Table([html.Thead(head), html.Tbody(rows)], style={"fontSize": "0.9rem"}), marked]


def serve(data: Shown, port: int) -> None:
    """Serves the page to this machine only, until Ctrl-C.

    Raises:
        UserError: Dash is missing, or the port is taken.
    """
    import logging

    app = page(data)
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # no line per request
    try:
        server = make_server("127.0.0.1", port, app.server, threaded=True)
    except (OSError, SystemExit):
        raise UserError(f"port {port} is taken; choose another one with --port") from None
    print(f"http://127.0.0.1:{server.server_port}/  (Ctrl-C ends)", flush=True)
    server.serve_forever()
