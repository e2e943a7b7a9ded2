import pytest

from tests.laws import processes
from tests.laws.counting import pytest_configure  # noqa: F401


@pytest.fixture(scope="session", autouse=True)
def work_of_other_processes(request, tmp_path_factory):
    """All selected cases share one start of the processes that some laws need."""
    folder = tmp_path_factory.getbasetemp()
    if hasattr(request.config, "workerinput"):
        folder = folder.parent
    selected = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    processes.share(folder, [x["case"] for x in selected if x.get("law") in processes.LAWS])
