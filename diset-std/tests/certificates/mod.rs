//! Certificates as people have them, over real sockets: chains that hold what nobody needs, thousands of authorities, names of all kinds, and
//! what is said on both sides of a certificate that will not do.

mod chains;
mod errors;
mod hints;
mod made;
mod names;
