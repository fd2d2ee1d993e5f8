"""Behavioural cloning in one script: no Prefect, no MLflow, no DVC.

Records expert trajectories in one environment, fine-tunes the embedded base model on them, plays the benchmark with both models and
compares them. Takes less than two minutes on two cores.

    .venv/bin/python examples/learn_in_a_script.py [--out FOLDER]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from agentevol.data.dataset import read_dataset, write_dataset
from agentevol.data.experts import play_expert
from agentevol.evaluation.paired_tests import mcnemar
from agentevol.evaluation.scores import score
from agentevol.rollout.rollout import roll_out
from agentevol.settings.finetune import FinetuneParams
from agentevol.settings.rollout import RolloutParams
from agentevol.training.finetune import finetune
from envs.registry import environment_class

ENVIRONMENT = "maze"
TRAJECTORIES = 60
BASE = Path(__file__).resolve().parents[1] / "models" / "base"
ROLLOUT = RolloutParams(concurrency=25, num_workers=1, max_new_tokens=64, context_length=1024)
FINETUNE = FinetuneParams(learning_rate=1.5e-3, batch_tokens=2048, max_tokens=1024)


def main(out: Path) -> tuple[float, float]:
    """Returns the success rate of the base model and of the fine-tuned policy."""
    cls = environment_class(ENVIRONMENT)

    print(f"1. the expert plays {TRAJECTORIES} training instructions of {ENVIRONMENT}")
    expert = [play_expert(ENVIRONMENT, instruction) for instruction in cls.instructions("train")[:TRAJECTORIES]]
    write_dataset(out / "trajectories", expert, {"made by": "examples/learn_in_a_script.py"})
    print(f"   {sum(trajectory.rounds for trajectory in expert)} turns; the first one:")
    for message in expert[0].messages[-3:]:
        print(f"   {message.role:>9}: {message.content}".replace("\n", "\n" + 14 * " "))

    print("2. the base model learns from them")
    facts = finetune(BASE, read_dataset(out / "trajectories"), out / "policy", settings=FINETUNE, seed=0, epochs=6)
    print(f"   {facts['steps']} optimizer steps, {facts['trained_tokens']:,} tokens, final loss {facts['loss'][-1][1]:.2f}")

    print("3. both play AgentEval")
    evaluation = cls.instructions("eval")
    before = roll_out(BASE, evaluation, settings=ROLLOUT)
    after = roll_out(out / "policy", evaluation, settings=ROLLOUT)
    for name, played in (("base model", before), ("fine-tuned", after)):
        result = score(played)[ENVIRONMENT]
        interval = f"[{100 * result.success_low:.0f}, {100 * result.success_high:.0f}]"
        print(f"   {name}: success {100 * result.success:.1f} % {interval}, n = {result.n}")
    test = mcnemar(after, before)
    print(f"   gained {test.only_a}, lost {test.only_b} of {test.n}: exact McNemar p = {test.p_value:.2g}")
    return score(before)[ENVIRONMENT].success, score(after)[ENVIRONMENT].success


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="a folder for the trajectories and the policy; by default a temporary one")
    arguments = parser.parse_args()
    if arguments.out:
        main(arguments.out)
    else:
        with tempfile.TemporaryDirectory() as folder:
            main(Path(folder))
