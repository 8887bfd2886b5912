from workspace_server import git


def test_the_package_offers_what_it_says() -> None:
    assert sorted(git.__all__) == git.__all__
    assert all(hasattr(git, name) for name in git.__all__)
