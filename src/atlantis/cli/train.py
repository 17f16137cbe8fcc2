"""`atlantis train`."""

from __future__ import annotations

import os
import signal
from typing import Annotated

import typer

from atlantis.cli.backend import BuildBase
from atlantis.cli.failures import judge
from atlantis.cli.folders import ConfigsOutputRoot, with_root
from atlantis.cli.report import write_report_of
from atlantis.errors import PartFailed


def train(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="A YAML file, or the bare name of one in configs/.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[key=value]...", help="Settings on top of it.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")] = False,
    report: Annotated[bool, typer.Option(help="Write the run's pictures and page at the end.")] = True,
    leashed: Annotated[bool, typer.Option("--leashed", hidden=True)] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse what is damaged; do not make it again.")] = False,
    fork: Annotated[bool, typer.Option("--fork", help="Go on with a run that other code has begun.")] = False,
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

    Writes outputs/experiments/NAME/: config.yaml (every setting), run.json, metrics.jsonl, checkpoints/ (from step 0
    on, each a folder for transformers), analysis/ (probes) and report/ (page, pictures, tables). The path of the
    report's page is the last line printed.

    \b
    Settings often changed (see configs/ and any run's config.yaml for all of them):
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
      torchrun --standalone --nproc-per-node 4 -m atlantis train demo  (batch_size: of all together)
    """
    from atlantis.config import find, load

    if leashed:
        _stop_when_stdin_ends()
    asked = load(find(config), with_root(overrides, output_root))  # a mistake in it is said before PyTorch is imported
    from atlantis.training import train as run_training

    run = run_training(asked, resume, strict, fork, build_base)
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


def _stop_when_stdin_ends() -> None:
    """SIGTERM to ourselves when standard input ends, as it does when the process that started us is killed."""
    import threading

    def wait() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()
