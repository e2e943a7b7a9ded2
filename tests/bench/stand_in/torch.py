"""What workers import as torch where their runs have no use for it, and start in no time."""

_threads = 1


def set_num_threads(n):
    global _threads
    _threads = n


def get_num_threads():
    return _threads


class _Anything:
    def __getattr__(self, name):
        return self

    def __call__(self, *values, **options):
        return self

    def __bool__(self):
        return False


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return _Anything()
