"""The one wrapper of TensorBoard, by the extra ``tensorboard``."""

from collections.abc import Mapping
from pathlib import Path

from seqtrans.errors import TrainingError


class TensorBoardLogger:
    """Writes event files for TensorBoard. See ``MetricsLogger``.

    Args:
        folder: Where the event files go.
        after_step: The step that training goes on from; what was logged later is hidden.

    Raises:
        TrainingError: TensorBoard is not installed, or the name of the folder is not UTF-8.
    """

    def __init__(self, folder: Path, after_step: int = 0) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise TrainingError(
                "TensorBoard is not installed: pip install 'seqtrans[tensorboard]'"
            ) from error
        try:
            self._writer = SummaryWriter(str(folder), purge_step=after_step + 1)
        except UnicodeEncodeError as error:
            raise TrainingError(f"{folder}: TensorBoard wants a name that is UTF-8") from error

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """See ``MetricsLogger.log``."""
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()
