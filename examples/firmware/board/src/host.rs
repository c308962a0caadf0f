//! What the host lends by semihosting: chance, the date, a place to report figures, and an end.

use semihosting::io::Write;

/// Fills it with random bytes, fit for keys.
///
/// There is no going on without: a client whose chance can be foreseen is not secure.
pub fn random(bytes: &mut [u8]) {
    if semihosting::experimental::random::fill_bytes(bytes).is_err() {
        defmt::panic!("no random bytes");
    }
}

/// Seconds since 1970, `None` when the board does not know.
pub fn unix_time() -> Option<u64> {
    let seconds = semihosting::sys::arm_compat::sys_time().ok()?;
    u64::try_from(seconds).ok()
}

/// Tells a figure to the tests, as a line `NAME VALUE` on standard error of QEMU.
pub fn report(name: &str, value: usize) {
    let mut digits = [b'0'; 10];
    let mut rest = value;
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
        used += 1;
        if rest == 0 {
            break;
        }
    }
    let Ok(mut to) = semihosting::io::stderr() else { return };
    // Nobody to be told if it fails.
    for part in [name.as_bytes(), b" ", &digits[digits.len() - used..], b"\n"] {
        let _ = to.write_all(part);
    }
}

/// Starts the board again. In QEMU this is the end of the run, a good one; the stack that was used is reported.
pub fn restart() -> ! {
    report("stack", crate::stack::used());
    exit(0)
}

/// Ends the run: 0 is good.
pub(crate) fn exit(code: i32) -> ! {
    semihosting::process::exit(code)
}
