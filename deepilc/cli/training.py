"""`train`, `pretrain`, `finetune` and `settings`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepilc.cli import options, sources
from deepilc.cli.text import add_command
from deepilc.errors import EXIT_INTERRUPTED, UserError
from sims import parameter_file

if TYPE_CHECKING:
    from deepilc.config import TrainConfig
    from deepilc.run import RunFolder

PANEL = "Learn"

Source = Annotated[
    Path | None,
    typer.Option(
        "--from",
        metavar="RUN",
        help="Run folder or checkpoint (.safetensors) whose networks to start from; of a folder "
        "those of its best evaluation.",
        show_default=False,
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    add_command(app, train, PANEL)
    add_command(app, pretrain, PANEL)
    add_command(app, finetune, PANEL)
    add_command(app, settings, PANEL)


def train(
    system: options.SystemName = None,
    parameters: options.Parameters = None,
    transitions: options.Transitions = None,
    preset: options.Preset = None,
    seed: options.Seed = None,
    device: options.Device = None,
    config: options.Config = None,
    set_: options.Set = None,
    out: options.Out = None,
    resume: options.Resume = None,
) -> None:
    """Learn from scratch, by default where the real parameters rule.

    For example:

        deepilc train --transitions 8000 --seed 1

        deepilc train --preset published --parameters published --out runs/published-1

        deepilc train --resume runs/published-1
    """
    given = _given(system, parameters, transitions, seed, device)
    if resume is not None:
        _refuse_settings(given, preset, config, set_, out)
        _resume(resume)
        return
    _start("train", given, preset, config, set_, out)


def pretrain(
    system: options.SystemName = None,
    parameters: options.Parameters = None,
    transitions: options.Transitions = None,
    randomise: Annotated[
        float | None,
        typer.Option(
            "--randomise",
            help="Each episode draws every physical parameter within this fraction, so that the "
            "policy bears a wrong model. Default: 0.15; 0 switches it off.",
            rich_help_panel=options.SETTING_PANEL,
            show_default=False,
        ),
    ] = None,
    preset: options.Preset = None,
    seed: options.Seed = None,
    device: options.Device = None,
    config: options.Config = None,
    set_: options.Set = None,
    out: options.Out = None,
    resume: options.Resume = None,
) -> None:
    """Learn in the nominal model, which costs no robot time.

    For example:

        deepilc pretrain --transitions 20000 --out runs/pre

        deepilc finetune --from runs/pre
    """
    given = _given(system, parameters, transitions, seed, device)
    if randomise is not None:
        given["randomise"] = randomise
    if resume is not None:
        _refuse_settings(given, preset, config, set_, out)
        _resume(resume)
        return
    from deepilc.presets import pretraining

    base = {"parameters": "nominal", **pretraining(preset)}
    _start("pretrain", given, preset, config, set_, out, base=base)


def finetune(
    source: Source = None,
    init_policy: Annotated[
        Path | None,
        typer.Option(
            "--init-policy",
            metavar="FILE",
            help="Policy to start from instead, with new critics: an .onnx file, a .zip of "
            "Stable-Baselines3 (SAC, TD3, PPO) or a .pt of rsl_rl. Those that are not ours are "
            "imitated first, in the nominal model.",
            show_default=False,
        ),
    ] = None,
    system: Annotated[
        str | None,
        typer.Option(
            "--system",
            help="System that the policy of --init-policy acts on; with --from, FILE.py:NAME of "
            "your own system, if its file has moved. Default: the source's.",
            rich_help_panel=options.SETTING_PANEL,
            show_default=False,
        ),
    ] = None,
    parameters: options.Parameters = None,
    transitions: options.Transitions = None,
    preset: options.Preset = None,
    seed: options.Seed = None,
    device: options.Device = None,
    config: options.Config = None,
    set_: options.Set = None,
    out: options.Out = None,
    resume: options.Resume = None,
) -> None:
    """Go on learning with a pre-trained policy where the real parameters rule.

    Networks come from the source; replay, optimisers and counters start anew. The source's
    algorithm settings hold (`agent`, `model`), but for step sizes above 3e-4, and so does a nominal
    model that was chosen for it, unless you change them.
    A policy alone (--init-policy) acts unchanged while new critics learn (agent.burn_in).

    For example:

        deepilc finetune --from runs/pre --transitions 2000

        deepilc finetune --from runs/pre --set updates_per_transition=4

        deepilc finetune --init-policy sb3_sac.zip --system rexquadrotor
    """
    given = _given(system, parameters, transitions, seed, device)
    if resume is not None:
        _refuse_settings(given, preset, config, set_, out)
        if source is not None or init_policy is not None:
            other = "--from" if source is not None else "--init-policy"
            raise UserError(f"{other} and --resume exclude each other; give one of them")
        _resume(resume)
        return
    if init_policy is not None:
        if source is not None:
            raise UserError("--from and --init-policy exclude each other; give one of them")
        base = sources.settings_for_policy(init_policy, preset, system)
        _start("finetune", given, preset, config, set_, out, base=base, initial=init_policy)
        return
    if source is None:
        raise UserError(
            "finetune needs --from RUN or --init-policy FILE (what to start from) or --resume RUN"
        )
    checkpoint = sources.checkpoint(source)
    base = sources.settings_of(checkpoint, preset, system)
    _start("finetune", given, preset, config, set_, out, base=base, initial=checkpoint)


def settings(
    preset: options.Preset = None,
    config: options.Config = None,
    set_: options.Set = None,
) -> None:
    """Show every setting with its value and meaning.

    For example:

        deepilc settings --preset paper

        deepilc settings --config runs/pre/config.yaml
    """
    from pydantic import BaseModel
    from rich.console import Console
    from rich.table import Table

    config_ = _load(config, set_, preset, {}, {})
    table = Table("setting", "value", "meaning", title="Settings", title_justify="left")

    def add(model: BaseModel, prefix: str) -> None:
        for name, field in type(model).model_fields.items():
            value = getattr(model, name)
            if isinstance(value, BaseModel):
                table.add_section()
                add(value, f"{prefix}{name}.")
            else:
                table.add_row(prefix + name, str(value), field.description or "")

    add(config_, "")
    Console().print(table)


def _given(
    system: str | None,
    parameters: str | None,
    transitions: int | None,
    seed: int | None,
    device: str | None,
) -> dict[str, Any]:
    values = {
        "system": system,
        "parameters": parameters,
        "transitions": transitions,
        "seed": seed,
        "device": device,
    }
    return {key: value for key, value in values.items() if value is not None}


def _refuse_settings(
    given: Mapping[str, Any],
    preset: str | None,
    config: Path | None,
    set_: list[str] | None,
    out: Path | None,
) -> None:
    others = {"preset": preset, "config": config, "set": set_, "out": out}
    names = [*given, *(name for name, value in others.items() if value)]
    if names:
        raise UserError(
            f"--resume goes on with the settings of that run; leave out --{' --'.join(names)}"
        )


def _load(
    config: Path | None,
    set_: list[str] | None,
    preset: str | None,
    given: Mapping[str, Any],
    base: Mapping[str, Any],
) -> "TrainConfig":
    from deepilc import config as configuration

    overrides = [*(set_ or []), *([f"preset={preset}"] if preset else [])]
    resolved = configuration.load(config, overrides, base=base, **given)
    if preset is not None and config is not None:
        import yaml

        if "agent" in (yaml.safe_load(config.read_text(encoding="utf-8")) or {}):
            raise UserError(
                f"--preset {preset} would be hidden by the agent settings in {config}; "
                "leave one of them out"
            )
    return resolved


def _start(
    command: str,
    given: Mapping[str, Any],
    preset: str | None,
    config: Path | None,
    set_: list[str] | None,
    out: Path | None,
    base: Mapping[str, Any] | None = None,
    initial: Path | None = None,
) -> None:
    from deepilc.device import check_device
    from deepilc.run import RunFolder
    from sims import registry

    resolved = _load(config, set_, preset, given, base or {})
    world = resolved.parameters
    if command == "pretrain" and resolved.nominal is None and parameter_file.is_file(world):
        resolved = resolved.model_copy(update={"nominal": world})  # the world is the model
    check_device(resolved.device)
    run = RunFolder.create(
        out,
        name=f"{command}-{registry.get(resolved.system).name.replace(':', '-')}",
        config=resolved.model_dump(mode="json"),
        about={"kind": command, "initial": None if initial is None else str(initial.resolve())},
    )
    try:
        _run(resolved, run, initial=initial, resume=False)
    except UserError:
        run.discard_if_unused()
        raise


def _resume(path: Path) -> None:
    from deepilc import config as configuration
    from deepilc.run import RunFolder

    run = RunFolder.resume(path)
    if run.is_of_a_stack:
        raise UserError(f"{path} is a run over ROS 2; go on with: deepilc up --resume {path}")
    resolved = configuration.of_a_run(run.read_config())
    if run.has_checkpoint:
        _run(resolved, run, initial=None, resume=True)
        return
    # It ended before its first checkpoint: begin again in the same folder.
    run.rewind({"": 0}, -1)
    initial = run.about.get("initial")
    _run(resolved, run, initial=None if initial is None else Path(initial), resume=False)


def _run(config: "TrainConfig", run: "RunFolder", *, initial: Path | None, resume: bool) -> None:
    from deepilc.cli.progress import TrainingProgress

    typer.echo(f"run folder: {run.path}")
    with TrainingProgress() as progress:
        try:
            from deepilc.train import train as train_

            with run:
                learner = train_(
                    config,
                    run,
                    initial=initial,
                    resume=resume,
                    progress=progress,
                    report=progress.line,
                )
        except KeyboardInterrupt:
            progress.stop()
            typer.echo(f"interrupted and saved; go on with: deepilc train --resume {run.path}")
            raise typer.Exit(EXIT_INTERRUPTED) from None
    if learner.invalid_jacobians:
        rows = learner.progress.train_transitions
        typer.echo(
            f"{learner.invalid_jacobians} of {rows} Jacobians were invalid (not finite, too large, "
            "or at a kink): those transitions taught values only"
        )
    if learner.non_finite_states:
        typer.echo(
            f"{learner.non_finite_states} episodes ended because the state was not finite: look at "
            "the dynamics, and at whether ending pays"
        )
    _summary(run)


def _summary(run: "RunFolder") -> None:
    from deepilc.plot import curves_of_runs, draw

    curves = curves_of_runs([run.path])
    if curves:
        draw(curves, run.path / "learning_curve.png")
        for curve in curves:
            first, last = curve.mean[0], curve.mean[-1]
            typer.echo(
                f"evaluation return {first:.1f} at {curve.transitions[0]:g} and {last:.1f} at "
                f"{curve.transitions[-1]:g} transitions; see {run.path / 'learning_curve.png'}"
            )
    typer.echo(f"policy: {run.policy}")
