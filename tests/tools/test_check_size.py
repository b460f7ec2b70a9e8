"""A folder that holds too many files, or lists them wrongly, is named, and no other."""

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


def test_what_a_package_leaves_out_or_lists_wrongly_is_named(tmp_path):
    package = tmp_path / "package"
    (package / "inner").mkdir(parents=True)
    (package / "inner" / "__init__.py").write_text('"""Nothing."""\n')
    (package / "one.py").write_text("class There:\n    pass\n\n\nALSO = 1\n\ndef so(): ...\n")
    (package / "other.py").touch()
    listed = "- ``one``: There, ALSO,\n  so, missing\n- ``inner``: in words, not names\n"
    (package / "__init__.py").write_text(f'"""All.\n\n{listed}"""\n')
    assert check_size.wrong_contents(package) == [
        "package/__init__.py: does not say what is in other: list what others use of it",
        "package/__init__.py: one has no missing: list what it has",
    ]
