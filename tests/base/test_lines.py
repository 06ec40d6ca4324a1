"""Lines of JSON come back as they were written, or not at all."""

from casc_det.base.lines import append_lines, read_lines


def test_lines_come_back_as_they_were_or_not_at_all(tmp_path):
    records = [{"key": k, "x": [0.1 * k, None, float("inf"), "\ud800 \u00e9"], "y": {"z": True}} for k in range(4)]
    append_lines(tmp_path / "a", records)
    assert read_lines(tmp_path / "a") == records
    whole = (tmp_path / "a").read_bytes().splitlines()
    for at in range(0, len(whole[1]), 7):  # every bit counts, but for the white space between values
        for bit in (1, 64):
            byte = bytes([whole[1][at] ^ bit])
            line = whole[1][:at] + byte + whole[1][at + 1 :]
            (tmp_path / "b").write_bytes(b"\n".join([whole[0], line, *whole[2:]]) + b"\n")
            named = []
            assert read_lines(tmp_path / "b", named.append) == [records[0], *records[2:]] and named
