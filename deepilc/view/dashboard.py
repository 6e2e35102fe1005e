"""The web page of a run: curves, the last episode, and why it may not be learning."""

import math
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepilc.errors import UserError
from deepilc.plot import COLOURS
from deepilc.view.run_data import Episode, ModelError, RunData

if TYPE_CHECKING:
    import dash
    import plotly.graph_objects as go

__all__ = ["page", "serve"]

REFRESH = 2_000  # ms between two looks at the files
LOSSES = ("critic_loss", "state_gradient_loss", "action_gradient_loss", "actor_loss")
LEARNER = ("q", "entropy", "alpha", "updates_per_second")
MODES = {"warmup": "random", "train": "training", "eval": "evaluation"}
TOOLS: Any = {"displaylogo": False, "modeBarButtonsToRemove": ["lasso2d", "select2d"]}
FIGURES = ("returns", "losses", "learner", "states", "actions", "model")


def page(data: RunData) -> "dash.Dash":
    """The page of a run; it reads the folder again every two seconds.

    Raises:
        UserError: Dash is missing.
    """
    try:
        from dash import Dash, Input, Output, State, dcc, html
        from dash.exceptions import PreventUpdate
    except ImportError:
        raise UserError(
            "the dashboard needs Dash, which is not installed: pip install 'deepilc[dashboard]'"
        ) from None
    app = Dash("deepilc", title=f"deepilc: {data.path.name}", update_title="")
    drawn: dict[str, Any] = {}
    one_at_a_time = threading.Lock()

    def figures() -> dict[str, Any]:
        """Those of the newest files; drawing takes longer than a look."""
        with one_at_a_time:
            if drawn.get("stamp") != (stamp := data.stamp):
                drawn.update(stamp=stamp, figures=draw(data), status=status_text(data))
        return drawn

    def layout() -> html.Div:
        now = figures()
        graphs = [dcc.Graph(id=name, figure=now["figures"][name], config=TOOLS) for name in FIGURES]
        columns = "repeat(auto-fit, minmax(34rem, 1fr))"
        return html.Div(
            [
                html.H2(f"{data.path.name}: {data.system.name}, set {data.config.parameters}"),
                html.P(now["status"], id="status"),
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
            *(Output(name, "figure") for name in FIGURES),
        ],
        Input("clock", "n_intervals"),
        State("shown", "data"),
        prevent_initial_call=True,
    )
    def refresh(_: int | None, shown: str) -> list[Any]:
        now = figures()
        if str(now["stamp"]) == shown:
            raise PreventUpdate
        return [str(now["stamp"]), now["status"], *(now["figures"][name] for name in FIGURES)]

    return app


def serve(path: Path, port: int) -> None:
    """Serves the page of a run to this machine only, until Ctrl-C.

    Raises:
        UserError: No run folder, Dash is missing, or the port is taken.
    """
    import logging

    from werkzeug.serving import make_server

    app = page(RunData(path))
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # no line per request
    try:
        server = make_server("127.0.0.1", port, app.server, threaded=True)
    except (OSError, SystemExit):
        raise UserError(f"port {port} is taken; choose another one with --port") from None
    print(f"http://127.0.0.1:{server.server_port}/  (Ctrl-C ends)", flush=True)
    server.serve_forever()


def status_text(data: RunData) -> str:
    """One line: how far the run is."""
    returns, status = data.returns(), data.status()
    parts = []
    if returns:
        last = max(int(x[-1]) for x, _ in returns.values())
        parts.append(f"{last} of {data.config.transitions} training transitions")
        if "eval" in returns:
            at, value = returns["eval"]
            here = value[at == at[-1]]
            parts.append(f"last evaluation {here.mean():.1f} (mean of {len(here)})")
    else:
        parts.append("no episode has ended yet")
    if status:
        parts.append(
            f"policy {status['policy_version']}, {status['policy_age']:.1f} s old; "
            f"safe actions {status['safe_actions']}, interventions {status['interventions']}, "
            f"drops {status['drops']}"
        )
    return "; ".join(parts)


def draw(data: RunData) -> "dict[str, go.Figure]":
    """All figures by name."""
    metrics, episode = data.metrics(), data.last_episode()
    state, action = data.system.state, data.system.action
    return {
        "returns": _returns(data),
        "losses": _columns(metrics, LOSSES, "losses"),
        "learner": _columns(metrics, LEARNER, "learner"),
        "states": _episode(episode, "state", state, "states of training episode"),
        "actions": _episode(episode, "action", action, "applied actions of training episode"),
        "model": _model(data.model_error()),
    }


def _figure(title: str, x: str, y: str = "") -> "go.Figure":
    import plotly.graph_objects as go

    figure = go.Figure()
    figure.update_layout(
        title=title,
        xaxis_title=x,
        yaxis_title=y,
        template="plotly_white",
        colorway=list(COLOURS),
        height=360,
        showlegend=True,
        margin={"l": 60, "r": 20, "t": 50, "b": 50},
        uirevision="keep",  # a zoom survives the next look
    )
    return figure


def _empty(title: str, why: str) -> "go.Figure":
    figure = _figure(title, "")
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    figure.add_annotation(text=why, showarrow=False, xref="paper", yref="paper", x=0.5, y=0.5)
    return figure


def _returns(data: RunData) -> "go.Figure":
    returns = data.returns()
    if not returns:
        return _empty("returns", "no episode has ended yet")
    figure = _figure("returns", "training transitions", "return of an episode")
    for mode, label in MODES.items():
        if mode not in returns:
            continue
        at, value = returns[mode]
        if mode == "eval":  # all start states of an evaluation at one point
            points = np.unique(at)
            value, at = np.array([value[at == point].mean() for point in points]), points
        figure.add_scatter(
            x=at,
            y=value,
            name=label,
            mode="lines+markers" if mode == "eval" else "markers",
            opacity=1.0 if mode == "eval" else 0.5,
        )
    return figure


def _columns(metrics: dict[str, np.ndarray], names: tuple[str, ...], title: str) -> "go.Figure":
    there = [name for name in names if name in metrics]
    if not there:
        return _empty(title, "no update has been reported yet")
    figure = _figure(title, "training transitions")
    for name in there:
        figure.add_scatter(x=metrics["transitions"], y=metrics[name], name=name.replace("_", " "))
    if all(np.nanmin(metrics[name]) > 0.0 for name in there):
        figure.update_yaxes(type="log")
    return figure


def _episode(episode: Episode | None, field: str, space: Any, title: str) -> "go.Figure":
    if episode is None:
        return _empty(title, "the first checkpoint has not been written yet")
    figure = _figure(f"{title} {episode.number}", "s")
    values = getattr(episode, field)
    for index, (name, unit) in enumerate(zip(space.names, space.units, strict=True)):
        figure.add_scatter(x=episode.time, y=values[:, index], name=f"{name} ({unit})")
    return figure


def _model(error: ModelError | None) -> "go.Figure":
    title = "why is it not learning? errors of the nominal model in one step"
    if error is None:
        return _empty(title, "the first checkpoint has not been written yet")
    figure = _figure(
        f"{title}<br><sub>{error.rows} newest transitions, {100 * error.valid:.0f} % of their "
        "Jacobians used; a bar as high as its neighbour: the model knows nothing there</sub>",
        "",
        "error (typical sizes)",
    )
    figure.add_bar(x=list(error.names), y=error.nominal, name="nominal model")
    figure.add_bar(x=list(error.names), y=error.nothing, name="if nothing changed")
    finite = [v for v in (*error.nominal, *error.nothing) if v > 0.0 and math.isfinite(v)]
    if finite:
        figure.update_yaxes(type="log")
    return figure
