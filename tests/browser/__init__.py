"""Tests in a real browser: a package, so that pytest ends the browser when it leaves the folder."""
