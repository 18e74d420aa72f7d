"""TypeType-Downloader: the domain and its engines. Knows neither Flask nor who runs it."""

__version__ = "0.1.0"
