"""A folder knows when one of its files is no longer as it was written."""

from zscope.core.checksums import changed_file, write_checksums


def test_a_folder_with_checksums_knows_what_was_changed_added_or_lost(tmp_path):
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text("{}")
    write_checksums(tmp_path)
    (tmp_path / ".hidden").write_text("of Snakemake")
    assert changed_file(tmp_path) is None
    (tmp_path / "a.json").write_text("[]")
    assert changed_file(tmp_path) == tmp_path / "a.json"
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "b.json").unlink()
    assert changed_file(tmp_path) == tmp_path / "b.json"
    (tmp_path / "b.json").write_text("{}")
    (tmp_path / "c.py").write_text("")
    assert changed_file(tmp_path) == tmp_path / "c.py"
    (tmp_path / "c.py").unlink()
    (tmp_path / "checksums.json").write_text('{"a.json": ')
    assert changed_file(tmp_path) == tmp_path / "checksums.json"
    assert changed_file(tmp_path / "nowhere") == tmp_path / "nowhere/checksums.json"
