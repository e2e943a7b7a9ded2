import base64
import struct
import zlib

import pytest
import torch

from thalweg.diagnostics._png import png


@pytest.mark.parametrize(("channels", "kind"), [(1, 0), (3, 2)])
def test_grey_and_coloured_images_are_marked_as_such(channels, kind):
    picture = torch.linspace(0, 1, channels * 6).reshape(channels, 2, 3)
    file = base64.b64decode(png(picture).removeprefix("data:image/png;base64,"))
    assert struct.unpack(">IIBBBBB", file[16:29]) == (3, 2, 8, kind, 0, 0, 0)
    size = struct.unpack(">I", file[33:37])[0]
    lines = torch.tensor([*zlib.decompress(file[41 : 41 + size])]).reshape(2, -1)
    assert not lines[:, 0].any()
    found = lines[:, 1:].reshape(2, 3, channels).permute(2, 0, 1)
    assert torch.equal(found, (picture * 255).round().long())
