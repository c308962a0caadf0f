//! Each file beside this one is a program that shows one thing:
//!
//! - `pingpong`: a service and a client over mutual TLS in one program, and what happens between them.
