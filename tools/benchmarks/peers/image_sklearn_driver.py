"""Trains scikit-learn's MLPClassifier."""

import argparse
from typing import Any

import image_contract as contract

ARGUMENTS = contract.parse_arguments()  # sets the number of threads, so before NumPy computes

import sklearn
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits


class TimedClassifier(MLPClassifier):
    """Looks at the clock after every epoch, in a method that it calls there (1.9)."""

    watch = contract.Stopwatch()

    def _update_no_improvement_count(self, *arguments: Any, **named: Any) -> None:
        super()._update_no_improvement_count(*arguments, **named)
        self.watch.stop()
        self.watch.start()


def main(arguments: argparse.Namespace) -> None:
    """Train and write the report."""
    images, labels = contract.read(arguments, "train")
    beta_1, beta_2 = contract.ADAM_BETAS
    model = TimedClassifier(
        contract.MLP_WIDTHS,
        alpha=0.0,
        batch_size=contract.BATCH,
        learning_rate_init=contract.LEARNING_RATE,
        max_iter=arguments.epochs,
        random_state=arguments.seed,
        beta_1=beta_1,
        beta_2=beta_2,
        epsilon=contract.ADAM_EPSILON,
        n_iter_no_change=arguments.epochs + 1,
    )
    with threadpool_limits(arguments.threads):
        model.watch.start()
        model.fit(images.reshape(len(images), -1), labels)
    images, labels = contract.read(arguments, "test")
    contract.write_report(
        arguments,
        model.watch,
        float(model.score(images.reshape(len(images), -1), labels)),
        system="scikit-learn",
        version=sklearn.__version__,
        parameters=sum(part.size for part in (*model.coefs_, *model.intercepts_)),
    )


if __name__ == "__main__":
    main(ARGUMENTS)
