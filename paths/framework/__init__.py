"""The service framework: state, events, handlers, timers."""
