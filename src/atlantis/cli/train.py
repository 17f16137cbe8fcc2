"""`atlantis train`."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Annotated

import typer

from atlantis.cli import complete
from atlantis.cli.backend import BuildBase
from atlantis.cli.failures import judge
from atlantis.cli.folders import ConfigsOutputRoot, config_or_run, run_of, where_it_lies, with_root
from atlantis.cli.report import write_report_of
from atlantis.errors import PartFailed, UserError


def train(
    config: Annotated[
        str,
        typer.Argument(
            metavar="CONFIG",
            help="A YAML file, or the bare name of one in configs/, or of a run.",
            autocompletion=complete.config_names,
        ),
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[key=value]...", help="Settings on top of it.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")] = False,
    report: Annotated[bool, typer.Option(help="Write the run's pictures and page at the end.")] = True,
    leashed: Annotated[bool, typer.Option("--leashed", hidden=True)] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse what is damaged; do not make it again.")] = False,
    fork: Annotated[bool, typer.Option("--fork", help="Go on with a run that other code has begun.")] = False,
    extend: Annotated[
        int | None, typer.Option("--extend", metavar="N", help="Make the finished run N steps longer, as a new run.")
    ] = None,
    build_base: BuildBase = False,
    output_root: ConfigsOutputRoot = None,
) -> None:
    """Train, evaluate and probe the run that CONFIG describes, and write its report.

    What the run needs and is missing is built first: the world, the dataset, the base it starts from. A base is only
    built under the name of the config that makes it (base_config), for a typing mistake would begin a long run;
    --build-base builds one under any name.

    Ctrl-C saves and stops; the same command with --resume goes on and ends with the same weights. A run that is
    finished is not trained again: its report is written anew. What has been damaged on disk is found by its hash; the
    run goes back to where everything was as written, and says so.

    --extend N makes the finished run CONFIG longer: a new run, CONFIG_to_STEPS or name=, begins as a copy of its
    checkpoints and goes on from its last state. With a constant rate it is, byte for byte, the run that had been given
    as many steps at once. With another schedule the rate jumps to where the longer schedule would be at that
    step. Refused are the strategies that prepare at step 0 for the run's length: der, distill, fixed_mean and repair.

    Writes outputs/experiments/NAME/: config.yaml (every setting), run.json, metrics.jsonl, checkpoints/ (from step 0
    on, each a folder for transformers), analysis/ (probes) and report/ (page, pictures, tables). The path of the
    report's page is the last line printed.

    \b
    Settings often changed (docs/settings.md explains all; a run's config.yaml has all their values):
      name=mine                       the run's folder; else the config's name
      training.max_steps=50           stop early
      training.batch_size=64  training.learning_rate=1e-4  training.seed=1
      dataset.inter_ratio=0.05  dataset.kind=inter  world.cities=my_cities.csv
      strategy.name=replay strategy.share=0.2   against forgetting: docs/strategies.md
    \b
    Examples:
      atlantis train demo
      atlantis train configs/atlantis_cross_finetune.yaml name=cross_seed1 training.seed=1
      atlantis train from_scratch --output-root /big/disk
      atlantis train from_scratch --output-root /big/disk --resume
      atlantis train demo --extend 100
      torchrun --standalone --nproc-per-node 4 -m atlantis train demo  (batch_size: of all together)
    """
    from atlantis.config import load

    if leashed:
        _stop_when_stdin_ends()
    if extend is not None and build_base:
        raise UserError("--build-base and --extend: a run that is made longer has its base already; leave one out")
    if extend is not None:
        from atlantis.training import extend_run

        finished = run_of(config, output_root)
        if output_root is not None and not _lies_below(output_root, finished):
            raise UserError(f"--output-root {output_root}: a longer run lies beside {finished}; leave it out")
        run = extend_run(finished, extend, overrides or (), resume=resume, strict=strict, fork=fork)
    else:
        # A mistake in the config is reported before PyTorch is imported.
        file = config_or_run(config, output_root)
        lies = where_it_lies(file, output_root, overrides or ())
        settings = load(file, [*lies, *with_root(overrides, output_root)])
        from atlantis.training import train as run_training

        run = run_training(settings, resume=resume, strict=strict, fork=fork, build_base=build_base)
    if not report:
        print(run)
        return
    try:
        write_report_of([run], None)
    except OSError:
        raise
    except Exception as error:  # the run is not lost to what only reads it
        reason = judge(error)[1]
        raise PartFailed(
            f"{run}: the run is trained and finished, but has no report: {reason}. `atlantis report {run}` tries again"
        ) from error


def _lies_below(root: Path, run: Path) -> bool:
    return os.path.realpath(root / "experiments") == os.path.dirname(os.path.realpath(run))


def _stop_when_stdin_ends() -> None:
    """SIGTERM to ourselves when standard input ends, as it does when the process that started us is killed."""
    import threading

    def wait() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()
