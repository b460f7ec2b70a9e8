"""A folder that holds too many files is named, and no other."""

from tools import check_size


def test_a_folder_of_more_than_15_python_files_is_named(tmp_path):
    for folder, count in (("package", 15), ("package/full", 16), ("package/empty", 0)):
        (tmp_path / folder).mkdir()
        for number in range(count):
            (tmp_path / folder / f"part{number}.py").touch()
    for number in range(20):
        (tmp_path / "package" / f"{number}.txt").touch()
    found = check_size.full_folders(tmp_path / "package")
    assert found == ["package/full: 16 files, 15 at most: split it"]
