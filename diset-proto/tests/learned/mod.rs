//! Messages without compiled-in types: what is shown of them, what is taken for them, and that both agree with the
//! types of whoever has them.

mod bounds;
mod errors;
mod shapes;
mod support;
mod types;
