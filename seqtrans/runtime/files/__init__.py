"""Files: atomic writes, locks, detection of file types, reading of text.

- ``atomic_files``: write_atomically, open_aside, sweep, is_aside, sync_folder, sync_file
- ``encoding_hints``: advice
- ``file_types``: HEAD, COMPRESSED, foreign
- ``run_lock``: locked
- ``strict_json``: as_json
- ``text_files``: open_lines, stream_lines

Used within: ``decompression``.
"""
