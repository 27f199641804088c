"""A sibling module: it comes along with a folder or a repository."""


def full_names(carriers):
    return {code: name.removesuffix(" Inc.") for code, name in carriers.items()}
