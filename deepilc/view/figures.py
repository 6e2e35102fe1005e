"""The figures of the dashboard."""

from typing import TYPE_CHECKING, Any

import numpy as np

from deepilc.plot import COLOURS
from deepilc.view.shown import Episode, ModelError, Shown

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["FIGURES", "draw"]

LOSSES = ("critic_loss", "state_gradient_loss", "action_gradient_loss", "actor_loss")
LEARNER = ("q", "entropy", "alpha", "updates_per_second")
MODES = {"warmup": "random", "train": "training", "eval": "evaluation"}
FIGURES = ("returns", "model", "states", "actions", "losses", "learner")
DASHES = ("solid", "dash", "dot", "dashdot")


def draw(data: Shown, error: ModelError | None) -> "dict[str, go.Figure]":
    """All figures by name; `error` is that of `data.model_error`."""
    metrics, episode = data.metrics(), data.last_episode()
    state, action = data.system.state, data.system.action
    return {
        "returns": _returns(data),
        "model": _model(data, error),
        "states": _episode(data, episode, "state", state),
        "actions": _episode(data, episode, "action", action),
        "losses": _columns(data, metrics, LOSSES, "losses"),
        "learner": _columns(data, metrics, LEARNER, "learner"),
    }


def _figure(title: str, x: str, y: str = "") -> "go.Figure":
    import plotly.graph_objects as go

    figure = go.Figure()
    figure.update_layout(
        title={"text": title, "x": 0.02, "font": {"size": 15}},
        xaxis_title=x,
        yaxis_title=y,
        template="plotly_white",
        colorway=list(COLOURS),
        height=360,
        showlegend=True,
        legend={"font": {"size": 11}},
        margin={"l": 60, "r": 20, "t": 60, "b": 50},
        uirevision="keep",  # a zoom survives the next look
    )
    return figure


def _empty(title: str, why: str) -> "go.Figure":
    figure = _figure(title, "")
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    figure.add_annotation(text=why, showarrow=False, xref="paper", yref="paper", x=0.5, y=0.5)
    return figure


def _returns(data: Shown) -> "go.Figure":
    returns = data.returns()
    if not returns:
        return _empty("returns", data.missing("returns"))
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


def _columns(
    data: Shown, metrics: dict[str, np.ndarray], names: tuple[str, ...], title: str
) -> "go.Figure":
    """Curves, the last one on an axis of its own, at the right."""
    there = [name for name in names if name in metrics]
    if not there:
        return _empty(title, data.missing("metrics"))
    figure = _figure(title, "training transitions")
    for name in there:
        words = name.replace("_", " ")
        right = name == names[-1]
        axis = {"yaxis": "y2"} if right else {}
        figure.add_scatter(x=metrics["transitions"], y=metrics[name], name=words, **axis)
        if right:
            colour = COLOURS[len(there) - 1]
            figure.update_layout(
                yaxis2={"title": words, "overlaying": "y", "side": "right", "color": colour,
                        "showgrid": False},
                legend={"x": 1.12},
            )  # fmt: skip
    left = [name for name in there if name != names[-1]]
    if left and all(np.nanmin(metrics[name]) > 0.0 for name in left):
        figure.update_yaxes(type="log", selector=0)
    return figure


def _episode(data: Shown, episode: Episode | None, field: str, space: Any) -> "go.Figure":
    what = {"state": "states", "action": "applied actions"}[field]
    if episode is None:
        return _empty(f"{what} of the last episode", data.missing("rows"))
    units = ["" if unit == "1" else unit for unit in space.units]
    common = units[0] if len(set(units)) == 1 else ""
    figure = _figure(f"{what} of training episode {episode.number}", "time (s)", common)
    values = getattr(episode, field)
    for index, (name, unit) in enumerate(zip(space.names, units, strict=True)):
        figure.add_scatter(
            x=episode.time,
            y=values[:, index],
            name=name if common or not unit else f"{name} ({unit})",
            line={"dash": DASHES[index // len(COLOURS) % len(DASHES)]},
        )
    return figure


def _model(data: Shown, error: ModelError | None) -> "go.Figure":
    title = "error of the nominal model in one step"
    if error is None:
        return _empty(title, data.missing("rows"))
    figure = _figure(
        f"{title}<br><sub>over the newest {error.rows} transitions; at 100 % the model is no "
        "better than predicting no change</sub>",
        "",
        "error (% of the change)",
    )
    absolute = np.asarray(data.system.state.scale) * error.nominal
    units = data.system.state.units
    figure.add_bar(
        x=list(error.names),
        y=100.0 * error.share,
        name="nominal model",
        customdata=[f"{size:.3g} {unit}" for size, unit in zip(absolute, units, strict=True)],
        hovertemplate="%{x}: %{y:.3g} %, that is %{customdata} (root mean square)<extra></extra>",
    )
    figure.add_hline(y=100.0, line={"dash": "dash", "color": "#D55E00"})
    figure.update_layout(showlegend=False)
    if (error.share > 0.0).any() and np.nanmin(error.share[error.share > 0.0]) < 0.02:
        figure.update_yaxes(type="log")
    return figure
