"""Read labeled images from files of any supported kind."""

from seqtrans.images.data.dataset import ImageSet
from seqtrans.images.data.image_files import WHITE, Rgb
from seqtrans.images.data.readers.cifar import CifarFiles, read_cifar
from seqtrans.images.data.readers.common import Names, ReadReport
from seqtrans.images.data.readers.folder import FolderFiles, read_folder
from seqtrans.images.data.readers.idx import IdxFiles, read_idx
from seqtrans.images.data.readers.npz import NpzFiles, read_npz

ImageFiles = IdxFiles | CifarFiles | FolderFiles | NpzFiles


def read_images(
    files: ImageFiles, known: Names = None, background: Rgb | None = WHITE
) -> tuple[ImageSet, ReadReport]:
    """Read all images into memory; also report their number and what was skipped.

    Args:
        files: Where they are.
        known: Names of classes that ``files`` need not give; those of the training images, when
            reading others. A class that is none of them is an error.
        background: See ``decode``. None also reads of a folder only what runs read that have none.

    Raises:
        DataError: A file can't be read or is not what it should be, or the images do not fit in
            memory.
        RecipeError: Pillow is needed and not installed.
    """
    match files:
        case FolderFiles():
            return read_folder(files, known, background)
        case IdxFiles():
            image_set = read_idx(files, known)
        case CifarFiles():
            image_set = read_cifar(files, known)
        case NpzFiles():
            image_set = read_npz(files, known)
    channels, height, width = image_set.images.shape[1:]
    size = (channels, height, width)
    return image_set, ReadReport(size, len(image_set), len(image_set.classes))
