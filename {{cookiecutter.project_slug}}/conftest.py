pytest_plugins = ["taglab.testing"]  # the fixture own_store
