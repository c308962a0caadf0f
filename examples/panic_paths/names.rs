//! What symbols say: the name of a function, and the crate it was written in.

use rustc_demangle::demangle;

/// The name as in code, without hashes.
pub(crate) fn readable(symbol: &str) -> String {
    format!("{:#}", demangle(symbol))
}

/// The standard library: what leads through it is as if it were written in the crate that calls it.
pub(crate) const STANDARD: [&str; 3] = ["core", "alloc", "compiler_builtins"];

/// The crate a function was written in, wherever its instance was made; `None` for a symbol that is not Rust's.
///
/// Of an implementation of a trait that is the crate of the `impl`, which only the mangled name says. A generic function
/// of the standard library that is given a closure counts as of the crate of the closure, which is most of it.
pub(crate) fn origin(symbol: &str) -> Option<&str> {
    let Some(mangled) = symbol.strip_prefix("_R") else {
        return legacy(symbol.strip_prefix("_ZN")?);
    };
    let written = root(mangled).or_else(|| any_root(mangled))?;
    if STANDARD.contains(&written)
        && let Some(at) = mangled.find("NC")
        && let Some(closure) = mangled.get(at..).and_then(root)
    {
        return Some(closure);
    }
    Some(written)
}

/// The crate root of the path that begins here, in the mangling v0; `None` when it refers back to an earlier one, or is a
/// type that is no path.
fn root(mut path: &str) -> Option<&str> {
    loop {
        path = match path.as_bytes().first()? {
            b'C' => return crate_name(path.get(1..)?),
            // A namespace, such as that of closures, and what lies in it.
            b'N' => path.get(2..)?,
            // Generic arguments, implementations, references.
            b'I' | b'M' | b'X' | b'Y' | b'R' | b'Q' => path.get(1..)?,
            b's' => path.split_once('_')?.1,
            _ => return None,
        };
    }
}

/// The first crate root anywhere in a name.
fn any_root(mangled: &str) -> Option<&str> {
    mangled.match_indices('C').find_map(|(at, _)| {
        let is_namespace = mangled.get(..at)?.ends_with('N');
        if is_namespace {
            None
        } else {
            crate_name(mangled.get(at + 1..)?)
        }
    })
}

/// Perhaps a disambiguator `s…_`, then length and name.
fn crate_name(text: &str) -> Option<&str> {
    match text.strip_prefix('s') {
        Some(disambiguated) => identifier(disambiguated.split_once('_')?.1),
        None => identifier(text),
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
            // With a closure, whose path refers back to one before.
            (
                "_RINvMs_NtNtCs1_11diset_proto4wire6outboxNtB4_6Outbox5frameNCB2_0ECsx_7surface",
                "diset_proto",
            ),
            (
                "_RNvXs_NtCs5_4core6futureINtB4_6PollFnNCNvCs7_4line4read0ENtB4_6Future4poll",
                "line",
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
