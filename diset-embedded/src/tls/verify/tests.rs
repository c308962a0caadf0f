//! The form of certificates: times, and what is not DER.
