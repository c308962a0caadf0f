//! Servers that are what they say.
