"""Readers of labeled images: idx, CIFAR, folders, NumPy files.

- ``cifar``: CifarFiles
- ``common``: ReadReport
- ``folder``: FolderFiles
- ``idx``: IdxFiles
- ``listing``: list_images, printable
- ``npz``: NpzFiles
- ``read``: ImageFiles, read_images

Used within: ``cifar_pickle``.
"""
