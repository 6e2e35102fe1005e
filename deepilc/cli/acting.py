"""`eval`, `export`, `plot` and `dashboard`: what comes out of a run."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepilc.cli import bags, options
from deepilc.cli.text import add_command
from deepilc.errors import UserError

if TYPE_CHECKING:
    from deepilc.view.shown import Shown

PANEL = "Use what was learned"

PolicySource = Annotated[
    Path, typer.Argument(help="Run folder, policy (.onnx) or checkpoint (.safetensors).")
]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    add_command(app, evaluate, PANEL, name="eval")
    add_command(app, export, PANEL)
    add_command(app, plot, PANEL)
    add_command(app, dashboard, PANEL)


def evaluate(
    policy: PolicySource,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against",
            metavar="POLICY",
            help="Another policy from the same start states; prints the paired gain over it.",
            show_default=False,
        ),
    ] = None,
    system: Annotated[
        str | None,
        typer.Option(help="System it must be made for. Default: the one it names."),
    ] = None,
    parameters: Annotated[
        str, typer.Option(metavar="SET", help="Parameter set of the world.")
    ] = "real",
    episodes: Annotated[int, typer.Option(min=1, help="Number of fixed start states.")] = 20,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the start states. Default: those of training runs.")
    ] = 1_000_003,
    json_: options.Json = False,
) -> None:
    """Measure a policy's return without exploration noise from fixed start states.

    For example:

        deepilc eval runs/fine

        deepilc eval runs/fine --against runs/pre --episodes 50

        deepilc eval policy.onnx --parameters nominal --json
    """
    from deepilc.artefact import find_policy
    from deepilc.evaluate import evaluate as returns_of
    from deepilc.evaluate import paired_gain
    from sims import registry

    wanted = None if system is None else registry.get(system)
    newer = find_policy(policy, wanted)
    body = newer.system
    body.parameters(parameters)
    older = None if against is None else find_policy(against, body)
    if older is not None and episodes < 2:
        raise UserError("--against needs --episodes of at least 2 for an interval")
    returns = returns_of(newer, body, parameters, episodes, seed)
    result = {
        "policy": str(policy),
        "version": newer.version,
        "hash": newer.hash,
        "system": body.name,
        "parameters": parameters,
        "episodes": episodes,
        "seed": seed,
        "mean": float(returns.mean()),
        "sd": float(returns.std(ddof=1)) if episodes > 1 else None,
        "min": float(returns.min()),
        "max": float(returns.max()),
        "returns": [float(value) for value in returns],
    }
    gain = None
    if older is not None:
        gain = paired_gain(returns_of(older, body, parameters, episodes, seed), returns)
        result["gain"] = {"mean": gain.mean, "low": gain.low, "high": gain.high}
    if json_:
        typer.echo(json.dumps(result))
        return
    spread = "" if result["sd"] is None else f" (sd {result['sd']:.1f})"
    typer.echo(
        f"{policy}: mean return {result['mean']:.1f}{spread}, {result['min']:.1f} to "
        f"{result['max']:.1f}, {episodes} episodes on {body.name} {parameters!r}"
    )
    if gain is not None:
        typer.echo(f"gain over {against}: {gain}, 95 % interval over {gain.pairs} start states (t)")


def export(
    source: PolicySource,
    out: Annotated[
        Path, typer.Option("--out", help="File to write; an existing one is never overwritten.")
    ] = Path("policy.onnx"),
) -> None:
    """Write the policy of a run or checkpoint as one self-describing ONNX file.

    Inputs: observation and noise (zeros: deterministic), output: action, in physical units.

    For example:

        deepilc export runs/fine --out quadrotor.onnx
    """
    from deepilc.artefact import find_policy
    from deepilc.run import write_atomic

    if out.exists():
        raise UserError(f"{out} exists; give another --out or remove it")
    if not out.parent.is_dir():
        raise UserError(f"folder {out.parent} does not exist; make it or give another --out")
    policy = find_policy(source)
    write_atomic(out, policy.content)
    typer.echo(
        f"{out}: policy {policy.version} of run {policy.run} for {policy.system.name}, "
        f"sha256 {policy.hash}"
    )


def plot(
    runs: Annotated[list[Path], typer.Argument(help="Run folders; seeds of one kind are joined.")],
    out: Annotated[Path, typer.Option("--out", help="PNG to write; it is replaced.")] = Path(
        "learning_curve.png"
    ),
    title: Annotated[str, typer.Option(help="Heading.")] = "Learning curve",
) -> None:
    """Draw learning curves: evaluation return against training transitions.

    Runs that differ only in their seed become one line (mean) with a band (standard deviation).

    For example:

        deepilc plot runs/fine

        deepilc plot runs/vg-* runs/sac-* --out compare.png
    """
    from deepilc.plot import curves_of_runs, draw

    if not out.absolute().parent.is_dir():
        raise UserError(f"folder {out.parent} does not exist; make it or give another --out")
    curves = curves_of_runs(runs)
    if not curves:
        raise UserError(
            f"no evaluation in {', '.join(map(str, runs))}; "
            "let them run longer or set evaluation_episodes above 0"
        )
    typer.echo(draw(curves, out, title=title))


def dashboard(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|BAG", help="Run folder, of a run that goes on or has ended; or a bag."
        ),
    ],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8050,
    system: options.SystemName = None,
    profile: bags.Profile = None,
) -> None:
    r"""Show a run, or a bag alone, as a web page: curves, the last episode, why it may not learn.

    The page is served to this machine only and follows the files while they grow. Of a bag it shows
    its episodes and how well the nominal model predicts them; --system and --profile are for bags,
    as in `deepilc replay`. Needs Dash: pip install '.\[dashboard]' in the checkout.

    For example:

        deepilc dashboard runs/fine

        deepilc dashboard runs/fine/bag

        deepilc dashboard bags/robot --profile quadrotor_odometry
    """
    from deepilc.view.dashboard import serve

    serve(_shown(run, system, profile), port)


def _shown(path: Path, system: str | None, profile: str | None) -> "Shown":
    if not path.exists():
        raise UserError(f"nothing at {path}; give a run folder or a bag")
    if (path / "run.json").exists() or list(path.glob("*/run.json")):
        from deepilc.view.run_data import RunData

        if system is not None or profile is not None:
            raise UserError(f"{path} is a run folder: leave out --system and --profile")
        return RunData(path)
    from deepilc.view.bag_data import BagData

    settings = bags.settings([path], system or bags.system_in(profile))
    body = bags.system_of(settings)
    model = body.model(settings.nominal_parameters, settings.jacobian)
    name = settings.nominal_parameters
    return BagData(path, body, model, name, lambda: bags.load([path], body, profile))
