import pwd


def none(uid):
    raise KeyError(f"getpwuid(): uid not found: {uid}")


pwd.getpwuid = none
