"""The example template keeps what its README promises to the authors of templates."""
