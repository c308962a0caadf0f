//! What symbols say: the name of a function, and the crate it was written in.

use rustc_demangle::demangle;

/// The name as in code, without hashes.
pub(crate) fn readable(symbol: &str) -> String {
    format!("{:#}", demangle(symbol))
}

/// The crate a function was written in, wherever its instance was made; `None` for a symbol that is not Rust's.
///
/// Of an implementation of a trait that is the crate of the `impl`, which only the mangled name says. A generic function
/// that is given a closure counts as of the crate of the closure, which is most of it.
pub(crate) fn origin(symbol: &str) -> Option<&str> {
    match symbol.strip_prefix("_R") {
        Some(rest) => match rest.find("NC") {
            Some(closure) => first_root(rest.get(closure..)?),
            None => first_root(rest),
        },
        None => legacy(symbol.strip_prefix("_ZN")?),
    }
}

/// The first crate root of a name in the mangling v0: `C`, perhaps a disambiguator `s…_`, then length and name.
fn first_root(mangled: &str) -> Option<&str> {
    let mut rest = mangled;
    loop {
        let at = rest.find('C')?;
        // A closure is `NC`, and its parent follows.
        let is_namespace = rest.get(..at)?.ends_with('N');
        rest = rest.get(at + 1..)?;
        if is_namespace {
            continue;
        }
        let name = match rest.strip_prefix('s') {
            Some(disambiguated) => disambiguated.split_once('_')?.1,
            None => rest,
        };
        return identifier(name);
    }
}

/// Of the older mangling, in which the standard library may be built: its first path begins with the crate.
fn legacy(mangled: &str) -> Option<&str> {
    let first = identifier(mangled)?;
    // `<T as Trait>` is written so.
    let first = first.trim_start_matches(['_', '$']);
    let first = first.strip_prefix("LT$").unwrap_or(first);
    Some(first.split(['.', '$']).next().unwrap_or(first))
}

/// A length, then so many bytes.
fn identifier(text: &str) -> Option<&str> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (length, rest) = text.split_at_checked(digits)?;
    let rest = rest.strip_prefix('_').unwrap_or(rest);
    rest.get(..length.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::{origin, readable};

    #[test]
    fn the_crate_of_a_function_is_told() {
        for (symbol, from) in [
            ("_RNvNtNtCs1234_11diset_proto4wire3tlv4read", "diset_proto"),
            // An implementation for a type of another crate.
            (
                "_RNvXs_NtCsa_11diset_proto4wireNtCsb_4core3FooNtCsc_5serde9Serialize9serialize",
                "diset_proto",
            ),
            // A generic function of core, with a type of ours.
            (
                "_RINvNtCs5_4core3ptr13drop_in_placeNtCs9_11diset_proto5ThingECsx_7surface",
                "core",
            ),
            // A closure.
            (
                "_RNCNvMs_NtCs1_14diset_embedded6clientNtB4_6Client4send0B6_",
                "diset_embedded",
            ),
            ("_ZN4core9panicking9panic_fmt17h0123456789abcdefE", "core"),
            (
                "_ZN59_$LT$core..fmt..Arguments$u20$as$u20$core..fmt..Display$GT$3fmt17h0123456789abcdefE",
                "core",
            ),
        ] {
            assert_eq!(origin(symbol), Some(from), "{symbol}");
        }
        assert_eq!(origin("memcpy"), None);
    }

    #[test]
    fn names_are_as_in_code() {
        assert_eq!(
            readable("_RNvNtNtCs1234_11diset_proto4wire3tlv4read"),
            "diset_proto::wire::tlv::read"
        );
    }
}
