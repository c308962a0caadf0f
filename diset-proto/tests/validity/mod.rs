//! Which bytes are a message (PROTOCOL M-2): what the decoder says, what the walk over a schema and over a learned
//! structure says, and what postcard says with a second encoding.

mod drawn;
mod rules;
mod types;
