"""The command ``lepton``: one verb a file, and the only place of the product that prints."""
