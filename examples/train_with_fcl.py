"""Does the focal consistency loss (FCL) make an autofocus network steadier? Two trainings from one trunk, compared.

    pip install . && python examples/train_with_fcl.py      # about five minutes on two cores

The network looks at one dual-pixel image of a patch, taken with the lens at any of 49 positions (the start), and predicts
the position at which the patch is sharp. The ordinal loss rewards a prediction that is right. FCL also asks for the same
prediction from four starts of one scene: a lens that follows it then has less reason to hunt back and forth.
"""

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from fcl import Config, evaluate, load_model, predict, simulate_stacks, train
from fcl.checkpoints import Step

CONFIG = Config(
    setting="D1",  # one frame, both views of the dual pixel
    train_stacks=800,
    focal_indices=4,  # F: each mini-batch sees every scene from four starts
    iterations=1200,
    consistency_start=0.5,  # FCL joins at half; until then both trainings are the same, the trunk
    lambda_msd=2,  # for the spread of the predicted positions
    lambda_kld=2,  # for the divergence of the predicted distributions
    seed=0,
)


def show(steps: Iterable[Step]) -> None:
    """Run a training to its end: it goes on only as its steps are asked for."""
    for step in steps:
        if step.iteration % 200 == 0:
            print(f"  {step.iteration:4} iterations: ordinal loss {step.ordinal:.2f}, FCL {step.consistency:.2f}")


def compare(config: Config, test_stacks: int = 240) -> dict[str, dict[str, float]]:
    """Train without and with the consistency loss of `config`, and measure both on scenes that neither has seen."""
    print(f"Simulating {config.train_stacks} focal stacks to train on and {test_stacks} to test with.")
    stacks, unseen = (simulate_stacks(n, seed, config.patch) for seed, n in ((1, config.train_stacks), (2, test_stacks)))
    scores = {}
    with TemporaryDirectory() as folder:
        trunk = Path(folder, "trunk")
        print("The shared first half:")
        show(train(config.trunk(), stacks, checkpoint=trunk, until=config.trunk_iterations))
        for name, branch in (("without", config.trunk()), ("with", config)):  # trunk(): the same, every lambda 0
            print(f"The second half {name} FCL:")
            end = Path(folder, name)
            show(train(branch, stacks, trunk=trunk, checkpoint=end))
            predictions = predict(load_model(end), unseen, config.setting).argmax  # (stacks, starts)
            scores[name] = evaluate(predictions, unseen.labels)
    for name, score in scores.items():
        print(f"{name:>7} FCL: MAE {score['mae']:.2f}, MSD* {score['msd_star']:.2f}, TV {score['tv']:.2f}")
    return scores


if __name__ == "__main__":
    compare(CONFIG)
