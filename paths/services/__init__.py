"""The services that Scout ships."""
