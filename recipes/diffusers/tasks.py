"""The other tasks' training on the CPU: plain, and with all that rides along, resumed."""

from __future__ import annotations

from script_training import record_losses
from task_training import (
    PICTURES,
    TASKS,
    count_options,
    lines_heard,
    reports_heard,
    task_words,
    train_task,
    trained_weights,
    write_task_inputs,
)

from porter.verify.probe import Probe


def run(probe: Probe) -> None:
    """Record losses, what was written, and weights, of training, a validation and a resumed run.

    The first run makes a picture of the class that it lacks, and adds noise of the offset, where
    the script has these. At levels that have ``--logging_steps`` two more runs log each loss and
    every second one.
    """
    task = TASKS[probe.parameters["task"]]
    script = (probe.tree / task.script).read_text(encoding="utf-8")
    write_task_inputs(probe, "sd15")
    more: list[object] = [*task.alone]
    more += ["--gradient_accumulation_steps", 2, "--checkpointing_steps", 2]
    if "--num_class_images" in task.alone:
        more += ["--num_class_images", PICTURES + 1]
    if '"--offset_noise"' in script:
        more += ["--offset_noise"]
    with probe.attempt("first"):
        words = task_words(task, 4, *more, *task.prompt)
        with reports_heard(probe, "first"):
            record_losses(probe, "first/losses", train_task(probe, task, words))
        probe.record("first/weights", trained_weights(probe, task))
    with probe.attempt("resumed"):
        # Without a prompt nothing is validated, however often it is asked for
        often = ("--validation_steps", 1) if "--validation_steps" in task.prompt else ()
        words = task_words(task, 6, *more, *often, "--resume_from_checkpoint", "latest")
        with reports_heard(probe, "resumed"):
            record_losses(probe, "resumed/losses", train_task(probe, task, words))
        probe.record_files("resumed/files", "trained")
    if "logging_steps" in script:
        with probe.attempt("logged"):
            with lines_heard(probe, "logged"):
                each, second = (
                    train_task(probe, task, task_words(task, 4, "--logging_steps", steps))
                    for steps in (1, 2)
                )
            probe.count("logged/every_second", int(second == each[1::2] and len(each) == 4))
    with probe.attempt("options"):
        count_options(probe, task)
