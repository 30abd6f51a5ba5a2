"""Other people's runs, taken into the same store as what is computed here."""
